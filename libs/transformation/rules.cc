#include "libs/transformation/rules.h"

#include <algorithm>
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

// New events share buffers: to allocate one for each costs as much as to make the event.
class NewEvents {
 public:
  NewEvents(const std::vector<Input>& inputs, std::vector<Output>* outputs) : outputs_(*outputs) {
    for (const Input& input : inputs) expected_ += input.event.size() + kMade;
  }
  std::string* buffer() {
    if (buffer_.empty()) buffer_.reserve(std::min(expected_, kBytes + kBytes / 4));
    return &buffer_;
  }
  /// Bytes that were appended and belong to no output yet.
  size_t new_bytes() const { return buffer_.size() - Given(); }
  void Drop() { buffer_.resize(Given()); }
  /// `output`'s event was appended.
  void Added(size_t output) {
    ends_.emplace_back(output, buffer_.size());
    if (buffer_.size() >= kBytes) Give();
  }
  /// Gives the outputs their events.
  void Give() {
    if (ends_.empty()) return;
    const Bytes all(std::move(buffer_));
    size_t begin = 0;
    for (const auto& [output, end] : ends_) {
      outputs_[output].events.push_back(all.Slice(all.view().substr(begin, end - begin)));
      begin = end;
    }
    expected_ -= std::min(expected_, all.size());
    ends_.clear();
    buffer_ = {};
  }

 private:
  size_t Given() const { return ends_.empty() ? 0 : ends_.back().second; }

  static constexpr size_t kBytes = 16 << 10;  // one event in use holds no more for others
  static constexpr size_t kMade = 64;         // by which an event is expected to grow

  std::vector<Output>& outputs_;
  size_t expected_ = 0;  // bytes that are still to come
  std::string buffer_;
  std::vector<std::pair<size_t, size_t>> ends_;  // of an output's event
};

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

// True: the new event was appended to `made`.
bool RulesTransformer::RunOne(const Input& input, rules::Scratch* scratch, Output* output,
                              std::string* made) const {
  const auto verdict = program_->Run(input.event.view(), input.message_id, scratch, made);
  if (!verdict.ok()) {
    output->error = Message(verdict.status());
    output->error_class =
        verdict.status().code() == StatusCode::kResourceExhausted ? "result_too_large" : "thrown";
    return false;
  }
  if (*verdict == rules::Program::Verdict::kSame) output->events.push_back(input.event);
  return *verdict == rules::Program::Verdict::kChanged;
}

void RulesTransformer::Run(std::vector<Input> inputs, const RunContext& context, RunDone done) {
  auto scratch = Acquire();
  std::vector<Output> outputs(inputs.size());
  NewEvents made(inputs, &outputs);
  const int64_t started = ThreadCpuMicros();
  int64_t before = started;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const bool changed = RunOne(inputs[i], scratch.get(), &outputs[i], made.buffer());
    const size_t size = changed ? made.new_bytes() : inputs[i].event.size();
    if (context.output_budget != nullptr && !context.output_budget->Take(size)) {
      made.Drop();
      outputs[i] = {.error = "there is no room for what the events become together",
                    .error_class = "result_too_large",
                    .again = true};
    } else if (changed) {
      made.Added(i);
    }
    if (!context.test) continue;
    const int64_t now = ThreadCpuMicros();
    outputs[i].cpu_us = now - before;
    before = now;
  }
  made.Give();
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
