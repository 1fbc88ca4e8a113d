#include "services/processor/chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libs/base/log.h"
#include "libs/event/event_fields.h"
#include "services/processor/metadata_use.h"

namespace millrace::processor {
namespace {

bool ReadsMetadata(const config::v1::TransformationVersion& version,
                   const config::v1::Workspace& workspace) {
  if (version.kind() == config::v1::RULES) return false;
  if (MayReadMetadata(version.code())) return true;
  if (version.code().find("import") == std::string::npos) return false;
  const auto& libraries = workspace.library_versions();
  return std::any_of(libraries.begin(), libraries.end(),
                     [](const auto& library) { return LibraryMayReadMetadata(library.code()); });
}

const config::v1::TransformationVersion* FindVersion(
    const config::v1::Transformation& transformation, const std::string& version_id) {
  if (version_id.empty())
    return transformation.has_published() ? &transformation.published() : nullptr;
  for (const auto& pinned : transformation.pinned()) {
    if (pinned.id() == version_id) return &pinned;
  }
  return transformation.published().id() == version_id ? &transformation.published() : nullptr;
}

/// The part of metadata(event) that all events of a chain share (TRF-02).
std::string MetadataJson(const ChainStep& step, const config::v1::Workspace& workspace,
                         const config::v1::Source& source,
                         const config::v1::Destination* destination) {
  std::string json = "{";
  const auto add = [&json](std::string_view name, std::string_view raw) {
    json += fmt::format("{}\"{}\":{}", json.size() > 1 ? "," : "", name, raw);
  };
  const auto text = [&add](std::string_view name, std::string_view value) {
    add(name, event::QuoteJson(value));
  };
  text("workspaceId", workspace.id());
  text("namespace", "");
  text("sourceId", source.id());
  text("sourceName", source.name());
  text("sourceType", source.type());
  text("sourceCategory", source.category());
  text("sourceDefinitionId", "");
  text("originalSourceId", "");
  text("sourceJobId", "");
  text("sourceJobRunId", "");
  text("sourceTaskRunId", "");
  text("trackingPlanId", "");
  add("trackingPlanVersion", "0");
  add("sourceTpConfig", "{}");
  add("mergedTpConfig", "{}");
  add("messageIds", "[]");
  text("destinationId", destination == nullptr ? "" : destination->id());
  text("destinationName", destination == nullptr ? "" : destination->name());
  text("destinationType", destination == nullptr ? "" : destination->type());
  text("destinationDefinitionId", "");
  text("transformationId", step.transformation_id);
  text("transformationVersionId", step.version_id);
  return json + "}";
}

}  // namespace

size_t Chain::StepOf(const std::string& transformation_id) const {
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i]->transformation_id == transformation_id) return i;
  }
  return 0;
}

ChainMaker::ChainMaker(const config::v1::Workspace& workspace,
                       transformation::TransformerFactory* factory)
    : workspace_(workspace), factory_(factory) {
  for (const auto& transformation : workspace.transformations()) {
    transformations_[transformation.id()] = &transformation;
  }
}

std::shared_ptr<const Chain> ChainMaker::Make(const Refs& first, const Refs& second) {
  if (first.empty() && second.empty()) return nullptr;
  auto chain = std::make_shared<Chain>();
  for (const Refs* refs : {&first, &second}) {
    for (const auto& ref : *refs) {
      auto step = Step(ref);
      chain->key += step->version_id.empty() ? "?" + step->transformation_id : step->version_id;
      chain->key += '\n';
      chain->reads_metadata = chain->reads_metadata || step->reads_metadata;
      chain->steps.push_back(std::move(step));
    }
  }
  return chain;
}

std::shared_ptr<const ChainStep> ChainMaker::Step(const config::v1::TransformationRef& ref) {
  auto& step = steps_[{ref.transformation_id(), ref.version_id()}];
  if (step == nullptr) step = std::make_shared<const ChainStep>(MakeStep(ref));
  return step;
}

ChainStep ChainMaker::MakeStep(const config::v1::TransformationRef& ref) {
  ChainStep step{.transformation_id = ref.transformation_id(), .name = ref.transformation_id()};
  const auto found = transformations_.find(ref.transformation_id());
  if (found == transformations_.end()) {
    step.fault = "it is not in the workspace any more";
    return step;
  }
  const config::v1::Transformation& transformation = *found->second;
  if (!transformation.name().empty()) step.name = transformation.name();
  const auto* version = FindVersion(transformation, ref.version_id());
  if (version == nullptr) {
    step.fault = ref.version_id().empty() ? "no version of it is published"
                                          : "it has no version '" + ref.version_id() + "'";
    return step;
  }
  step.version_id = version->id();
  step.number = version->number();
  step.reads_metadata = ReadsMetadata(*version, workspace_);
  if (factory_ == nullptr) {
    step.fault = "this process runs no transformations";
    return step;
  }
  auto made = factory_->Make(*version, workspace_);
  if (!made.ok()) {
    step.fault = Message(made.status());
    passing_fault_ = passing_fault_ || made.status().code() != StatusCode::kInvalidArgument;
    log::Error("transformation '{}' version {} cannot run: {}", step.name, step.number, step.fault);
    return step;
  }
  step.transformer = *std::move(made);
  if (ref.version_id().empty() && transformation.has_shadow() &&
      transformation.shadow_permille() > 0) {
    auto shadow = factory_->Make(transformation.shadow(), workspace_);
    if (shadow.ok()) {
      step.shadow = *std::move(shadow);
      step.shadow_version_id = transformation.shadow().id();
      step.shadow_permille = transformation.shadow_permille();
      // Both must see the same.
      step.reads_metadata =
          step.reads_metadata || ReadsMetadata(transformation.shadow(), workspace_);
    } else {
      log::Warning("transformation '{}': the shadow cannot run: {}", step.name,
                   Message(shadow.status()));
    }
  }
  return step;
}

BoundChain Bind(std::shared_ptr<const Chain> chain, const config::v1::Workspace& workspace,
                const config::v1::Source& source, const config::v1::Destination* destination) {
  static const auto nothing = std::make_shared<const std::string>("{}");
  BoundChain bound{.chain = std::move(chain)};
  for (const auto& step : bound.chain->steps) {
    bound.metadata.push_back(step->reads_metadata
                                 ? std::make_shared<const std::string>(
                                       MetadataJson(*step, workspace, source, destination))
                                 : nothing);
  }
  return bound;
}

}  // namespace millrace::processor
