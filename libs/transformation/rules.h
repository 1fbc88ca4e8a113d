#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/transformation/transformer.h"

namespace millrace::transformation {

namespace rules {
class Program;
struct Scratch;
}  // namespace rules

/// A version of kind RULES: YAML (docs/rules.md), compiled to native code that works on the events'
/// bytes. What no rule touches keeps its bytes. Runs in the caller's thread and is done when Run
/// returns.
class RulesTransformer final : public Transformer {
 public:
  /// kInvalidArgument: the first fault with line and column.
  static StatusOr<std::shared_ptr<Transformer>> Compile(
      const config::v1::TransformationVersion& version, const config::v1::Workspace& workspace);
  /// All faults; empty: fine.
  static std::vector<CodeFault> Check(const config::v1::TransformationVersion& version,
                                      const config::v1::Workspace& workspace);

  RulesTransformer(std::string version_id, std::unique_ptr<const rules::Program> program);
  ~RulesTransformer() override;

  const std::string& version_id() const override { return version_id_; }
  bool stateful() const override { return false; }
  void Run(std::vector<Input> inputs, const RunContext& context, RunDone done) override;

 private:
  std::unique_ptr<rules::Scratch> Acquire();
  void Release(std::unique_ptr<rules::Scratch> scratch);
  bool RunOne(const Input& input, rules::Scratch* scratch, Output* output, std::string* made) const;

  const std::string version_id_;
  const std::unique_ptr<const rules::Program> program_;
  Mutex mu_;
  std::vector<std::unique_ptr<rules::Scratch>> idle_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::transformation
