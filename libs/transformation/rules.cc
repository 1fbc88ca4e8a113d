#include "libs/transformation/rules.h"

#include <ctime>
#include <utility>

#include "libs/transformation/rules_compile.h"
#include "libs/transformation/rules_program.h"

namespace millrace::transformation {
namespace {

int64_t ThreadCpuMicros() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000 + now.tv_nsec / 1'000;
}

}  // namespace

StatusOr<std::shared_ptr<Transformer>> RulesTransformer::Compile(
    const config::v1::TransformationVersion& version, const config::v1::Workspace& workspace) {
  std::vector<CodeFault> faults;
  auto program = rules::CompileRules(version.code(), workspace, &faults);
  if (program == nullptr) {
    const CodeFault& first = faults.front();
    return Error(StatusCode::kInvalidArgument, "line {}, column {}: {}", first.line, first.column,
                 first.message);
  }
  return std::make_shared<RulesTransformer>(version.id(), std::move(program));
}

std::vector<CodeFault> RulesTransformer::Check(const config::v1::TransformationVersion& version,
                                               const config::v1::Workspace& workspace) {
  std::vector<CodeFault> faults;
  rules::CompileRules(version.code(), workspace, &faults);
  return faults;
}

RulesTransformer::RulesTransformer(std::string version_id,
                                   std::unique_ptr<const rules::Program> program)
    : version_id_(std::move(version_id)), program_(std::move(program)) {}
RulesTransformer::~RulesTransformer() = default;

std::unique_ptr<rules::Scratch> RulesTransformer::Acquire() {
  const MutexLock lock(mu_);
  if (idle_.empty()) return std::make_unique<rules::Scratch>(program_->tree());
  auto scratch = std::move(idle_.back());
  idle_.pop_back();
  return scratch;
}

void RulesTransformer::Release(std::unique_ptr<rules::Scratch> scratch) {
  constexpr size_t kMaxKeptBytes = 1 << 20;  // one huge event must not hold its memory for ever
  if (scratch->document.capacity() > kMaxKeptBytes) return;
  const MutexLock lock(mu_);
  idle_.push_back(std::move(scratch));
}

void RulesTransformer::RunOne(const Input& input, rules::Scratch* scratch, Output* output) const {
  std::string text;
  const auto verdict = program_->Run(input.event.view(), input.message_id, scratch, &text);
  if (!verdict.ok()) {
    output->error = Message(verdict.status());
    output->error_class = "thrown";
  } else if (*verdict == rules::Program::Verdict::kSame) {
    output->events.push_back(input.event);
  } else if (*verdict == rules::Program::Verdict::kChanged) {
    output->events.emplace_back(std::move(text));
  }
}

void RulesTransformer::Run(std::vector<Input> inputs, const RunContext& context, RunDone done) {
  auto scratch = Acquire();
  std::vector<Output> outputs(inputs.size());
  const int64_t started = ThreadCpuMicros();
  int64_t before = started;
  for (size_t i = 0; i < inputs.size(); ++i) {
    RunOne(inputs[i], scratch.get(), &outputs[i]);
    if (!context.test) continue;
    const int64_t now = ThreadCpuMicros();
    outputs[i].cpu_us = now - before;
    before = now;
  }
  if (!context.test && !outputs.empty()) {
    // The clock costs as much as an event: one reading a batch, shared out; the first has the rest.
    const int64_t spent = ThreadCpuMicros() - started;
    const auto count = static_cast<int64_t>(outputs.size());
    for (Output& output : outputs) output.cpu_us = spent / count;
    outputs.front().cpu_us += spent % count;
  }
  Release(std::move(scratch));
  done(std::move(outputs));
}

}  // namespace millrace::transformation
