#include "services/processor/transform_stage.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "libs/base/hash.h"
#include "libs/base/text.h"
#include "services/processor/transformed.h"

namespace millrace::processor {
namespace {

using transformation::Input;
using transformation::Output;

constexpr size_t kMaxOutputBytes = 64 << 20;   // of one step over a batch, in memory
constexpr std::chrono::seconds kPatience{15};  // with one step of a batch
constexpr size_t kEventNameBytes = 1024;

/// What metadata(event) says of the event itself (TRF-02).
std::string EventMetadata(const Event& event) {
  const auto raw = [](std::string_view text) {
    return text.empty() ? std::string_view("\"\"") : text;
  };
  const std::string name(ClipText(event::DecodeText(event.fields.event), kEventNameBytes));
  return fmt::format(
      R"({{"messageId":{},"receivedAt":{},"eventName":{},"eventType":{},"rudderId":{},"recordId":"","jobId":{}}})",
      event::QuoteJson(event.meta.message_id()), raw(event.fields.received_at),
      event::QuoteJson(name), raw(event.fields.type), event::QuoteJson(event.user_key),
      event.offset);
}

Input MakeInput(const Event& event, const ChainStep& step, int64_t now_us) {
  return {.event = event.bytes,
          .metadata_json = step.reads_metadata ? EventMetadata(event) : "{}",
          .message_id = event.meta.message_id(),
          .now_us = now_us,
          .seed = fmt::format("{}.{}.{}", event.partition, event.offset, event.index),
          .user = std::hash<std::string_view>{}(event.user_key)};
}

/// What one record became is too large as a whole.
void Refuse(std::vector<TransformJob>& jobs) {
  for (TransformJob& job : jobs) {
    for (Output& output : job.outputs) {
      output = {.error = fmt::format("the events made of one event are more than {} bytes",
                                     kMaxOutputBytes),
                .error_class = "result_too_large"};
    }
  }
}

bool OfOneRecord(const std::vector<ChainRun>& runs) {
  const size_t order = runs.front().events.front().order;
  return std::all_of(runs.begin(), runs.end(), [order](const ChainRun& run) {
    return std::all_of(run.events.begin(), run.events.end(),
                       [order](const Event& event) { return event.order == order; });
  });
}

bool ComesTo(const Event& event, const Chain& chain, size_t step) {
  return event.live() && (event.resume_at.empty() || chain.StepOf(event.resume_at) <= step);
}

}  // namespace

/// The events that one job was given.
struct TransformStage::Asked {
  size_t run = 0;
  std::vector<size_t> events;
};

Status TransformStage::RunSources(const FanOut& fan_out, EventBatch& batch) {
  std::map<const SourceRoutes*, size_t> run_of;
  std::vector<ChainRun> runs;
  const auto source_of = [&](const Event& event) -> const SourceRoutes* {
    if (!event.live() || !event.meta.redrive().destination_id().empty()) return nullptr;
    const SourceRoutes* source = fan_out.Source(event.meta.source_id());
    return source != nullptr && source->chain.chain != nullptr ? source : nullptr;
  };
  size_t other = 0;  // events that pass no chain
  for (Event& event : batch.events) {
    const SourceRoutes* source = source_of(event);
    if (source == nullptr) {
      std::swap(batch.events[other++], event);
      continue;
    }
    const auto [found, is_new] = run_of.try_emplace(source, runs.size());
    if (is_new) runs.push_back({.chain = &source->chain});
    runs[found->second].events.push_back(std::move(event));
  }
  if (runs.empty()) return OkStatus();
  batch.events.resize(other);
  MR_RETURN_IF_ERROR(Run(runs));
  for (ChainRun& run : runs) {
    for (Event& event : run.events) {
      event.resume_at.clear();
      batch.events.push_back(std::move(event));
    }
  }
  std::stable_sort(batch.events.begin(), batch.events.end(),
                   [](const Event& a, const Event& b) { return a.order < b.order; });
  return OkStatus();
}

Status TransformStage::Run(std::vector<ChainRun>& runs) {
  size_t steps = 0;
  for (const ChainRun& run : runs) steps = std::max(steps, run.chain->chain->steps.size());
  for (size_t step = 0; step < steps; ++step) MR_RETURN_IF_ERROR(RunStep(runs, step));
  return OkStatus();
}

Status TransformStage::AddJobs(ChainRun& run, size_t run_index, size_t step,
                               std::vector<Asked>& asked, std::vector<TransformJob>& jobs,
                               std::vector<const ChainStep*>& steps) {
  const Chain& chain = *run.chain->chain;
  const ChainStep& is = *chain.steps[step];
  const int64_t now_us = clock_.NowMicros();
  std::map<int, size_t> job_of;  // by partition, of what has state; else one
  const bool by_partition = (is.transformer != nullptr && is.transformer->stateful()) ||
                            (is.shadow != nullptr && is.shadow->stateful());
  for (size_t i = 0; i < run.events.size(); ++i) {
    Event& event = run.events[i];
    if (!ComesTo(event, chain, step)) continue;
    if (is.transformer == nullptr) {
      FailAtStep(is, step, {.error = is.fault, .error_class = "unavailable"}, 1, event);
      continue;
    }
    const int queue = by_partition ? event.partition : -1;
    const auto [found, is_new] = job_of.try_emplace(queue, jobs.size());
    if (is_new) {
      TransformJob& job = jobs.emplace_back();
      job.transformer = is.transformer;
      job.queue = queue;
      job.context.metadata_json = run.chain->metadata[step];
      if (is.transformer->stateful()) {
        MR_ASSIGN_OR_RETURN(job.context.state, state_of_(event.partition));
      }
      asked.push_back({.run = run_index});
      steps.push_back(&is);
    }
    jobs[found->second].inputs.push_back(MakeInput(event, is, now_us));
    asked[found->second].events.push_back(i);
  }
  return OkStatus();
}

Status TransformStage::RunStep(std::vector<ChainRun>& runs, size_t step) {
  std::vector<TransformJob> jobs;
  std::vector<Asked> asked;             // one a job
  std::vector<const ChainStep*> steps;  // one a job
  for (size_t i = 0; i < runs.size(); ++i) {
    if (step >= runs[i].chain->chain->steps.size()) continue;
    MR_RETURN_IF_ERROR(AddJobs(runs[i], i, step, asked, jobs, steps));
  }
  if (jobs.empty()) return OkStatus();
  if (observer_ != nullptr) observer_->Begin(jobs, steps);
  const auto budget = std::make_shared<ByteBudget>(kMaxOutputBytes);
  const bool all_run = RunJobs(jobs, kPatience, budget);
  const bool too_much = budget->overdrawn();
  if ((too_much || !all_run) && !OfOneRecord(runs)) {
    return too_much
               ? Error(StatusCode::kResourceExhausted,
                       "transformations made more than {} bytes of events of one batch",
                       kMaxOutputBytes)
               : Error(StatusCode::kDeadlineExceeded,
                       "the transformations of a batch took longer than {} s", kPatience.count());
  }
  if (too_much) Refuse(jobs);
  if (observer_ != nullptr) observer_->End(jobs, steps);

  struct Answer {
    TransformJob* job = nullptr;
    size_t index = 0;
  };
  std::map<size_t, std::vector<Answer>> answers;  // by run, one an event
  for (size_t j = 0; j < jobs.size(); ++j) {
    auto& of_run = answers[asked[j].run];
    of_run.resize(runs[asked[j].run].events.size());
    for (size_t k = 0; k < asked[j].events.size(); ++k) of_run[asked[j].events[k]] = {&jobs[j], k};
  }
  for (auto& [i, of_run] : answers) {
    std::vector<Event> results;
    results.reserve(of_run.size());
    size_t begin = 0;  // of the results of one record
    for (size_t e = 0; e < of_run.size(); ++e) {
      Event& event = runs[i].events[e];
      if (begin < results.size() && results[begin].order != event.order) {
        if (results.size() - begin > 1) MakeDistinct(results, begin);
        begin = results.size();
      }
      const Answer& answer = of_run[e];
      if (answer.job == nullptr) {
        results.push_back(std::move(event));
        continue;
      }
      ApplyOutput(*runs[i].chain->chain->steps[step], step,
                  std::move(answer.job->outputs[answer.index]), answer.job->attempts[answer.index],
                  results.size() - begin, std::move(event), results);
    }
    if (results.size() - begin > 1) MakeDistinct(results, begin);
    runs[i].events = std::move(results);
  }
  return OkStatus();
}

}  // namespace millrace::processor
