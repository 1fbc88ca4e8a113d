#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "libs/transformation/transformer.h"

namespace millrace::processor {

/// One transformation of a chain, at the version that one snapshot of the workspace puts in force.
struct ChainStep {
  std::string transformation_id;
  std::string name;
  std::string version_id;
  uint32_t number = 0;  // of the version
  std::shared_ptr<transformation::Transformer> transformer;
  /// Why there is no transformer: its events go to the dead letters with this reason.
  std::string fault;
  bool reads_metadata = true;

  std::shared_ptr<transformation::Transformer> shadow;  // null: none
  std::string shadow_version_id;
  uint32_t shadow_permille = 0;
};

/// What an event passes through, in order. Immutable.
struct Chain {
  std::vector<std::shared_ptr<const ChainStep>> steps;
  std::string key;              // the ids of its versions: equal chains have equal keys
  bool reads_metadata = false;  // any of its steps
  /// The step to go on from after a redrive: that of this transformation, or the first.
  size_t StepOf(const std::string& transformation_id) const;
};

/// A chain as it runs for one source, or one source and destination, with what metadata(event) says
/// of them.
struct BoundChain {
  std::shared_ptr<const Chain> chain;
  std::vector<std::shared_ptr<const std::string>> metadata;  // JSON, one a step
};

/// Makes the transformers of one workspace snapshot. Used by one thread, for one snapshot.
class ChainMaker {
 public:
  /// `factory` null: no transformation can be made.
  ChainMaker(const config::v1::Workspace& workspace, transformation::TransformerFactory* factory);

  using Refs = google::protobuf::RepeatedPtrField<config::v1::TransformationRef>;
  /// Null when both lists are empty.
  std::shared_ptr<const Chain> Make(const Refs& first, const Refs& second = {});
  /// Whether a version could not be made for a reason that may pass.
  bool passing_fault() const { return passing_fault_; }

 private:
  std::shared_ptr<const ChainStep> Step(const config::v1::TransformationRef& ref);
  ChainStep MakeStep(const config::v1::TransformationRef& ref);

  const config::v1::Workspace& workspace_;
  transformation::TransformerFactory* const factory_;
  StringMap<const config::v1::Transformation*> transformations_;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const ChainStep>> steps_;
  bool passing_fault_ = false;
};

/// `destination` null: the chain runs before fan-out, or asks for nothing that tells destinations
/// apart.
BoundChain Bind(std::shared_ptr<const Chain> chain, const config::v1::Workspace& workspace,
                const config::v1::Source& source, const config::v1::Destination* destination);

}  // namespace millrace::processor
