#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

using transformation::v1::TransformationReport;
using transformation::v1::VersionReport;

// Kept of one transformation (logs) and of one version (samples); the oldest go.
constexpr int64_t kLogsKept = 200;
constexpr int64_t kSamplesKept = 20;

}  // namespace

Status Store::AddReports(const std::vector<TransformationReport>& reports, const std::string& topic,
                         int32_t partition, int64_t next_offset) {
  return InTransaction([&]() -> Status {
    for (const TransformationReport& report : reports) {
      for (const VersionReport& version : report.versions()) {
        MR_RETURN_IF_ERROR(AddReport(version, report.at_us()));
      }
    }
    return SetPosition(topic, partition, next_offset);
  });
}

Status Store::AddReport(const VersionReport& report, int64_t at_us) {
  Statement add(database_->handle(), R"sql(
      INSERT INTO script_totals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET events = events + excluded.events,
        produced = produced + excluded.produced, dropped = dropped + excluded.dropped,
        failed = failed + excluded.failed, cpu_us = cpu_us + excluded.cpu_us,
        logs_left_out = logs_left_out + excluded.logs_left_out,
        last_at_us = max(last_at_us, excluded.last_at_us), compared = compared + excluded.compared,
        equal = equal + excluded.equal, different = different + excluded.different,
        shadow_failed = shadow_failed + excluded.shadow_failed)sql");
  const auto& shadow = report.shadow();
  MR_RETURN_IF_ERROR(add.Bind(report.version_id())
                         .Bind(int64_t{report.has_shadow() ? 1 : 0})
                         .Bind(report.transformation_id())
                         .Bind(report.events())
                         .Bind(report.produced())
                         .Bind(report.dropped())
                         .Bind(report.failed())
                         .Bind(report.cpu_us())
                         .Bind(report.logs_left_out())
                         .Bind(at_us)
                         .Bind(shadow.compared())
                         .Bind(shadow.equal())
                         .Bind(shadow.different())
                         .Bind(shadow.failed())
                         .Run());
  for (const auto& line : report.logs()) {
    config::v1::ReportLog log;
    log.set_version_id(report.version_id());
    log.set_at_us(line.at_us());
    log.set_message_id(line.message_id());
    log.set_text(line.text());
    Statement put(database_->handle(), "INSERT INTO script_logs (script, body) VALUES (?, ?)");
    MR_RETURN_IF_ERROR(
        put.Bind(report.transformation_id()).BindBlob(log.SerializeAsString()).Run());
  }
  for (const auto& sample : shadow.samples()) {
    Statement put(database_->handle(), "INSERT INTO shadow_samples (version, body) VALUES (?, ?)");
    MR_RETURN_IF_ERROR(put.Bind(report.version_id()).BindBlob(sample.SerializeAsString()).Run());
  }
  if (!report.logs().empty()) {
    Statement trim(
        database_->handle(),
        "DELETE FROM script_logs WHERE script = ?1 AND sequence <= (SELECT sequence FROM "
        "script_logs WHERE script = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)");
    MR_RETURN_IF_ERROR(trim.Bind(report.transformation_id()).Bind(kLogsKept).Run());
  }
  if (shadow.samples().empty()) return OkStatus();
  Statement trim(
      database_->handle(),
      "DELETE FROM shadow_samples WHERE version = ?1 AND sequence <= (SELECT sequence FROM "
      "shadow_samples WHERE version = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)");
  return trim.Bind(report.version_id()).Bind(kSamplesKept).Run();
}

StatusOr<config::v1::ScriptReport> Store::Report(const std::string& script_id) {
  MutexLock lock(mu_);
  config::v1::ScriptReport report;
  report.set_id(script_id);
  Statement totals(
      database_->handle(),
      "SELECT version, shadow, events, produced, dropped, failed, cpu_us, logs_left_out, "
      "last_at_us, compared, equal, different, shadow_failed FROM script_totals WHERE "
      "script = ? ORDER BY last_at_us DESC, shadow");
  totals.Bind(script_id);
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool found, totals.Step());
    if (!found) break;
    auto* one = report.add_versions();
    one->set_version_id(totals.Text(0));
    one->set_shadow(totals.Int(1) != 0);
    one->set_events(totals.Int(2));
    one->set_produced(totals.Int(3));
    one->set_dropped(totals.Int(4));
    one->set_failed(totals.Int(5));
    one->set_cpu_us(totals.Int(6));
    one->set_logs_left_out(totals.Int(7));
    one->set_last_at_us(totals.Int(8));
    if (!one->shadow()) continue;
    auto* shadow = report.add_shadows();
    shadow->set_version_id(one->version_id());
    shadow->set_compared(totals.Int(9));
    shadow->set_equal(totals.Int(10));
    shadow->set_different(totals.Int(11));
    shadow->set_failed(totals.Int(12));
  }
  Statement logs(database_->handle(),
                 "SELECT body FROM script_logs WHERE script = ? ORDER BY sequence DESC");
  logs.Bind(script_id);
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool found, logs.Step());
    if (!found) break;
    if (!report.add_logs()->ParseFromString(logs.Text(0))) {
      return MakeStatus(StatusCode::kInternal, "store: a log line cannot be read");
    }
  }
  for (auto& shadow : *report.mutable_shadows()) {
    Statement samples(database_->handle(),
                      "SELECT body FROM shadow_samples WHERE version = ? ORDER BY sequence DESC");
    samples.Bind(shadow.version_id());
    while (true) {
      MR_ASSIGN_OR_RETURN(const bool found, samples.Step());
      if (!found) break;
      transformation::v1::ShadowSample sample;
      if (!sample.ParseFromString(samples.Text(0))) {
        return MakeStatus(StatusCode::kInternal, "store: a shadow sample cannot be read");
      }
      auto* one = shadow.add_samples();
      one->set_message_id(sample.message_id());
      one->set_event_json(sample.event());
      for (const auto& event : sample.in_force()) one->add_in_force_json(event);
      for (const auto& event : sample.shadow()) one->add_shadow_json(event);
      one->set_shadow_error(sample.shadow_error());
    }
  }
  return report;
}

}  // namespace millrace::control_plane
