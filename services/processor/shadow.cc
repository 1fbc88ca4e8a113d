#include "services/processor/shadow.h"

#include <rapidjson/document.h>

#include <algorithm>
#include <condition_variable>

#include "libs/base/hash.h"
#include "libs/event/scan.h"

namespace millrace::processor {
namespace {

using transformation::Output;

constexpr int kDeepest = 100;  // nesting that is compared value by value, in a recursion
constexpr int kSamples = 3;    // of one run
constexpr size_t kSampleBytes = 32 << 10;
constexpr size_t kMaxOutputBytes = 16 << 20;  // of one run, in memory

bool IsShallow(std::string_view json) {
  int depth = 0;
  const char* const end = json.data() + json.size();
  return event::scan::SkipValue(event::scan::SkipSpace(json.data(), end), end, &depth) != nullptr &&
         depth <= kDeepest;
}

bool SameOutput(const Output& in_force, const Output& shadow) {
  return in_force.events.size() == shadow.events.size() &&
         std::equal(in_force.events.begin(), in_force.events.end(), shadow.events.begin(),
                    [](const Bytes& a, const Bytes& b) { return SameJson(a.view(), b.view()); });
}

void AddSample(std::string_view message_id, const Bytes& event, const Output& in_force,
               const Output& shadow, transformation::v1::ShadowReport* report) {
  size_t bytes = event.size();
  for (const Output* output : {&in_force, &shadow}) {
    for (const Bytes& made : output->events) bytes += made.size();
  }
  if (report->samples_size() >= kSamples || bytes > kSampleBytes) return;
  auto& sample = *report->add_samples();
  sample.mutable_message_id()->assign(message_id);
  sample.mutable_event()->assign(event.view());
  for (const Bytes& made : in_force.events) sample.add_in_force(std::string(made.view()));
  for (const Bytes& made : shadow.events) sample.add_shadow(std::string(made.view()));
  sample.set_shadow_error(shadow.error.substr(0, 1000));
}

}  // namespace

bool SameJson(std::string_view a, std::string_view b) {
  if (a == b) return true;
  if (!IsShallow(a) || !IsShallow(b)) return false;
  rapidjson::Document first;
  rapidjson::Document second;
  first.Parse<rapidjson::kParseIterativeFlag>(a.data(), a.size());
  second.Parse<rapidjson::kParseIterativeFlag>(b.data(), b.size());
  return !first.HasParseError() && !second.HasParseError() && first == second;
}

/// One call of a shadow, and what it is compared with.
struct Shadows::Run {
  std::string transformation_id;
  std::shared_ptr<transformation::Transformer> shadow;
  std::unique_ptr<transformation::StateScope> state;
  std::deque<std::string> message_ids;
  std::vector<size_t> asked;  // indices of the job's inputs
  std::vector<Bytes> events;
  std::vector<Output> in_force;
  bool committed = false;
  bool forgotten = false;

  Mutex mu;
  std::condition_variable ended;
  bool done ABSL_GUARDED_BY(mu) = false;
  std::vector<Output> outputs ABSL_GUARDED_BY(mu);

  bool Done() {
    MutexLock lock(mu);
    return done;
  }
};

void Shadows::Begin(const std::vector<TransformJob>& jobs,
                    const std::vector<const ChainStep*>& steps, const std::string& workspace_id) {
  begun_.clear();
  for (size_t i = 0; i < jobs.size(); ++i) {
    const ChainStep& step = *steps[i];
    if (step.shadow == nullptr) continue;
    const bool busy = std::any_of(runs_.begin(), runs_.end(), [&](const auto& run) {
      return run->shadow->version_id() == step.shadow_version_id && !run->Done();
    });
    if (busy) continue;
    auto run = std::make_shared<Run>();
    run->transformation_id = step.transformation_id;
    run->shadow = step.shadow;
    std::vector<transformation::Input> inputs;
    for (size_t k = 0; k < jobs[i].inputs.size(); ++k) {
      const auto& input = jobs[i].inputs[k];
      if (Murmur2(input.message_id) % 1000 >= step.shadow_permille) continue;
      run->asked.push_back(k);
      run->events.push_back(input.event);
      inputs.push_back(input);
      inputs.back().message_id = run->message_ids.emplace_back(input.message_id);
    }
    if (inputs.empty()) continue;
    transformation::RunContext context = jobs[i].context;
    context.state = nullptr;
    context.output_budget = std::make_shared<ByteBudget>(kMaxOutputBytes);
    if (step.shadow->stateful() && jobs[i].queue >= 0) {
      auto scope = state_.ShadowScope(workspace_id, jobs[i].queue);
      if (!scope.ok()) continue;  // the next batch may have better luck
      run->state = *std::move(scope);
      context.state = run->state.get();
    }
    runs_.push_back(run);
    begun_[i] = run;
    run->shadow->Run(std::move(inputs), context, [run](std::vector<Output> outputs) {
      MutexLock lock(run->mu);
      run->outputs = std::move(outputs);
      run->done = true;
      run->ended.notify_all();
    });
  }
}

void Shadows::End(const std::vector<TransformJob>& jobs) {
  for (const auto& [i, run] : begun_) {
    for (const size_t k : run->asked) run->in_force.push_back(jobs[i].outputs[k]);
  }
  begun_.clear();
}

void Shadows::Forget() {
  begun_.clear();
  for (const auto& run : runs_) run->forgotten = run->forgotten || !run->committed;
}

void Shadows::Keep() {
  for (const auto& run : runs_) run->committed = run->committed || !run->forgotten;
}

bool Shadows::Finished() const {
  return std::any_of(runs_.begin(), runs_.end(), [](const auto& run) {
    return (run->committed || run->forgotten) && run->Done();
  });
}

void Shadows::Take(transformation::v1::TransformationReport* report) {
  std::erase_if(runs_, [report](const std::shared_ptr<Run>& run) {
    if (!(run->committed || run->forgotten) || !run->Done()) return false;
    if (!run->forgotten) Compare(*run, report->add_versions());
    return true;
  });
}

void Shadows::Compare(Run& run, transformation::v1::VersionReport* report) {
  MutexLock lock(run.mu);
  report->set_transformation_id(run.transformation_id);
  report->set_version_id(run.shadow->version_id());
  auto& shadow = *report->mutable_shadow();
  for (size_t i = 0; i < run.in_force.size() && i < run.outputs.size(); ++i) {
    const Output& in_force = run.in_force[i];
    const Output& output = run.outputs[i];
    const bool failed = !output.error.empty();
    // Dropped, as it was too much together with the others: that says nothing of the code.
    if (output.again && output.error_class == "result_too_large") continue;
    report->set_events(report->events() + 1);
    report->set_cpu_us(report->cpu_us() + output.cpu_us);
    report->set_produced(report->produced() + static_cast<int64_t>(output.events.size()));
    if (failed)
      report->set_failed(report->failed() + 1);
    else if (output.events.empty())
      report->set_dropped(report->dropped() + 1);
    shadow.set_compared(shadow.compared() + 1);
    if (failed && in_force.error.empty()) {
      shadow.set_failed(shadow.failed() + 1);
    } else if (failed || (in_force.error.empty() && SameOutput(in_force, output))) {
      shadow.set_equal(shadow.equal() + 1);
      continue;
    } else {
      shadow.set_different(shadow.different() + 1);
    }
    AddSample(run.message_ids[i], run.events[i], in_force, output, &shadow);
  }
}

void Shadows::WaitForAll() {
  for (const auto& run : runs_) {
    MutexLock lock(run->mu);
    while (!run->done) run->ended.wait(lock.native());
    run->state.reset();
  }
}

}  // namespace millrace::processor
