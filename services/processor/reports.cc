#include "services/processor/reports.h"

#include "libs/base/text.h"

namespace millrace::processor {
namespace {

constexpr size_t kLineBytes = 2 << 10;
constexpr size_t kLogBytes = 128 << 10;  // of one record

}  // namespace

void TransformReports::BeginBatch(const std::string& workspace_id) {
  workspace_id_ = workspace_id;
  reports_.clear();
  log_bytes_ = 0;
  shadows_.Forget();
}

void TransformReports::Begin(const std::vector<TransformJob>& jobs,
                             const std::vector<const ChainStep*>& steps) {
  shadows_.Begin(jobs, steps, workspace_id_);
}

void TransformReports::End(const std::vector<TransformJob>& jobs,
                           const std::vector<const ChainStep*>& steps) {
  shadows_.End(jobs);
  for (size_t i = 0; i < jobs.size(); ++i) {
    auto& report = reports_[{steps[i]->transformation_id, steps[i]->version_id}];
    int64_t produced = 0;
    int64_t dropped = 0;
    int64_t failed = 0;
    int64_t cpu_us = 0;
    for (const auto& output : jobs[i].outputs) {
      produced += static_cast<int64_t>(output.events.size());
      cpu_us += output.cpu_us;
      if (!output.error.empty())
        ++failed;
      else if (output.events.empty())
        ++dropped;
    }
    report.set_events(report.events() + static_cast<int64_t>(jobs[i].outputs.size()));
    report.set_produced(report.produced() + produced);
    report.set_dropped(report.dropped() + dropped);
    report.set_failed(report.failed() + failed);
    report.set_cpu_us(report.cpu_us() + cpu_us);
    AddLogs(jobs[i], &report);
  }
}

void TransformReports::AddLogs(const TransformJob& job, transformation::v1::VersionReport* report) {
  const int64_t now_us = clock_.NowMicros();
  for (size_t i = 0; i < job.outputs.size(); ++i) {
    for (const std::string& line : job.outputs[i].log) {
      LogPace& pace = paces_[job.transformer->version_id()];
      if (pace.second != now_us / 1'000'000) pace = {.second = now_us / 1'000'000};
      if (pace.lines >= options_.log_lines_per_second || log_bytes_ >= kLogBytes) {
        report->set_logs_left_out(report->logs_left_out() + 1);
        continue;
      }
      ++pace.lines;
      auto& log = *report->add_logs();
      log.set_at_us(now_us);
      log.mutable_message_id()->assign(job.inputs[i].message_id);
      log.mutable_text()->assign(ClipText(line, kLineBytes));
      log_bytes_ += log.text().size();
    }
  }
}

std::string TransformReports::Record() {
  transformation::v1::TransformationReport report;
  shadows_.Take(&report);
  for (const auto& [ids, version] : reports_) {
    auto& told = *report.add_versions();
    told = version;
    told.set_transformation_id(ids.first);
    told.set_version_id(ids.second);
  }
  if (report.versions().empty()) return {};
  report.set_workspace_id(workspace_id_);
  report.set_at_us(clock_.NowMicros());
  return report.SerializeAsString();
}

}  // namespace millrace::processor
