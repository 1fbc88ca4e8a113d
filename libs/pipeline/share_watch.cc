#include "libs/pipeline/share_watch.h"

#include <pthread.h>

#include <array>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "libs/base/log.h"

namespace millrace::pipeline {
namespace {

constexpr const char* kBytesGauge = "millrace_destination_share_bytes";
constexpr const char* kLimitGauge = "millrace_destination_share_limit_bytes";
constexpr std::array kSteps = {50, 80, 100};
constexpr int kHysteresis = 10;  // so many points below a step it counts as left

// The highest step that is reached, or held because it is not left by far enough.
int StepAt(double percent, int before) {
  int step = 0;
  for (const int each : kSteps) {
    if (percent >= each || (each <= before && percent > each - kHysteresis)) step = each;
  }
  return step;
}

std::string WhatFollows(const DestinationShare& share) {
  if (share.refuse_sources) return "the sources connected to it are refused (503)";
  if (share.bytes_to_give_up > 0) return "its oldest waiting events are given up";
  return "see why it does not take them, or raise its share";
}

}  // namespace

void ShareWatch::Warn(const std::string& id, const DestinationShare& share) {
  int& before = steps_[id];
  const double percent = share.used_fraction * 100;
  const int step = StepAt(percent, before);
  if (step > before) {
    log::Warning(
        "destination {}: what waits for it uses {:.0f} % of its share of the log ({} of {} "
        "bytes); {}",
        id, percent, share.bytes, share.limit_bytes, WhatFollows(share));
  } else if (step < before) {
    log::Info("destination {}: what waits for it uses {:.0f} % of its share of the log again", id,
              percent);
  }
  before = step;
}

void ShareWatch::WarnTogether(const ShareEvaluation& evaluation) {
  if (evaluation.together_bytes == 0) return;
  const bool over = evaluation.bytes > evaluation.together_bytes;
  const bool relieved = static_cast<double>(evaluation.bytes) <
                        static_cast<double>(evaluation.together_bytes) * options_.relief;
  if (over && !together_) {
    log::Warning(
        "what waits for all destinations together uses {} bytes of the log, more than the {} "
        "that it may: those with the most give up their oldest events first",
        evaluation.bytes, evaluation.together_bytes);
    together_ = true;
  } else if (together_ && relieved) {
    log::Info("what waits for all destinations together uses {} bytes of the log again",
              evaluation.bytes);
    together_ = false;
  }
}

void ShareWatch::ShowBytes(const std::string& id, const DestinationShare& share) {
  const telemetry::Labels labels = {{"destination", id}};
  metrics_
      .GetGauge(kBytesGauge, "Bytes that the log cannot free because of what waits for it.", labels)
      .Set(static_cast<double>(share.bytes));
  metrics_.GetGauge(kLimitGauge, "Bytes of the log that what waits for it may use.", labels)
      .Set(static_cast<double>(share.limit_bytes));
}

void ShareWatch::Show(const ShareEvaluation& evaluation) {
  for (const auto& [id, share] : evaluation.destinations) {
    ShowBytes(id, share);
    Warn(id, share);
  }
  std::erase_if(steps_, [&](const auto& shown) {
    if (evaluation.Find(shown.first) != nullptr) return false;
    metrics_.Remove({{"destination", shown.first}});
    return true;
  });
  WarnTogether(evaluation);
}

Status ShareWatch::Look() {
  const config::WorkspacePtr workspace = workspace_.Current();
  if (workspace == nullptr) return OkStatus();
  MR_ASSIGN_OR_RETURN(const event_log::LogUsage usage, log_.Usage());
  const auto before = current_.Get();
  auto evaluation =
      std::make_shared<ShareEvaluation>(EvaluateShares(usage, *workspace, options_, before.get()));
  evaluation->sequence = before->sequence + 1;
  Show(*evaluation);
  current_.Set(std::move(evaluation));
  return OkStatus();
}

int ShareWatch::Step(const std::string& destination_id) const {
  const auto found = steps_.find(destination_id);
  return found == steps_.end() ? 0 : found->second;
}

void ShareWatch::Start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "shares");
    std::mutex mu;
    std::condition_variable_any wake;
    bool worked = true;
    while (!stop.stop_requested()) {
      const Status status = Look();
      if (!status.ok() && worked) {
        log::Warning("shares of the log: {}; the last figures stand", Message(status));
      } else if (status.ok() && !worked) {
        log::Info("shares of the log: known again");
      }
      worked = status.ok();
      std::unique_lock lock(mu);
      wake.wait_for(lock, stop, interval_, [] { return false; });
    }
  });
}

void ShareWatch::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

}  // namespace millrace::pipeline
