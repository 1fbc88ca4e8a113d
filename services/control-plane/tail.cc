#include "services/control-plane/tail.h"

#include <nlohmann/json.hpp>
#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "libs/base/clock.h"
#include "libs/event/event_fields.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "services/control-plane/event_json.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;

/// Of the lines written in one go; what comes beyond it is counted and left out.
constexpr size_t kMaxBytesAtOnce = 128 << 10;

std::string Line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Lines for a record of `ingest`, or "".
std::string IngestLine(const event_log::ConsumedRecord& record, const std::string& source_id) {
  event::v1::EventMeta meta;
  if (!meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()))) return {};
  if (!source_id.empty() && meta.source_id() != source_id) return {};
  Json line = {{"stage", "accepted"},
               {"source", meta.source_id()},
               {"messageId", meta.message_id()},
               {"type", event::EventTypeName(meta.type())},
               {"receivedAt", FormatRfc3339Millis(meta.received_at_us())},
               {"event", EventToJson(record.value)}};
  if (!meta.rejected_reason().empty()) line["rejected"] = meta.rejected_reason();
  return Line(line);
}

std::string StatusLines(const event_log::ConsumedRecord& record, const std::string& source_id,
                        const std::string& destination_id) {
  delivery::v1::DeliveryStatusBatch batch;
  if (!batch.ParseFromArray(record.value.data(), static_cast<int>(record.value.size()))) return {};
  std::string lines;
  for (const auto& status : batch.statuses()) {
    if (!source_id.empty() && status.source_id() != source_id) continue;
    if (!destination_id.empty() && status.destination_id() != destination_id) continue;
    Json line = {{"stage", delivery::v1::Outcome_Name(status.outcome())},
                 {"source", status.source_id()},
                 {"destination", status.destination_id()},
                 {"messageId", status.message_id()},
                 {"httpStatus", status.http_status()},
                 {"attempts", status.attempts()},
                 {"at", FormatRfc3339Millis(status.at_us())},
                 {"reason", status.reason()}};
    if (!status.transformation_versions().empty()) {
      line["transformationVersions"] = std::vector<std::string>(
          status.transformation_versions().begin(), status.transformation_versions().end());
    }
    lines += Line(line);
  }
  return lines;
}

void Follow(event_log::Consumer& consumer, http::StreamWriter& writer, const std::stop_token& stop,
            const std::string& source_id, const std::string& destination_id) {
  std::stop_callback wake(stop, [&] { consumer.Wake(); });
  while (!stop.stop_requested()) {
    const auto batch =
        consumer.Poll({.max_records = 5000, .timeout = std::chrono::milliseconds(1000)});
    if (!batch.ok()) return;
    std::string lines;
    size_t left_out = 0;
    for (const auto& record : batch->records) {
      if (lines.size() > kMaxBytesAtOnce) {
        ++left_out;
        continue;
      }
      lines += batch->source_of(record).topic == event_log::kIngestTopic
                   ? (destination_id.empty() ? IngestLine(record, source_id) : std::string())
                   : StatusLines(record, source_id, destination_id);
    }
    if (left_out > 0) lines += Line({{"stage", "left_out"}, {"records", left_out}});
    if (lines.empty()) lines = "\n";  // shows whether the viewer is still there
    if (!writer.Write(std::move(lines))) return;
    // Nobody reads faster; a busy log must not spend its time on viewers.
    std::mutex mu;
    std::condition_variable_any pace;
    std::unique_lock lock(mu);
    pace.wait_for(lock, stop, std::chrono::milliseconds(100), [] { return false; });
  }
}

}  // namespace

Status Tails::Open(const http::Responder& responder, std::string source_id,
                   std::string destination_id) {
  viewers_.erase(std::remove_if(viewers_.begin(), viewers_.end(),
                                [](const Viewer& viewer) { return viewer.done->load(); }),
                 viewers_.end());
  if (viewers_.size() >= kMaxViewers) {
    return Error(StatusCode::kResourceExhausted, "{} viewers are watching already; end one of them",
                 kMaxViewers);
  }
  std::vector<event_log::CommittedOffset> ends;
  for (const auto topic : {event_log::kIngestTopic, event_log::kDeliveryStatusTopic}) {
    MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(std::string(topic)));
    for (const auto& info : infos) {
      ends.push_back({.partition = {std::string(topic), info.partition}, .offset = -2});
    }
  }
  MR_ASSIGN_OR_RETURN(auto consumer, log_.NewConsumer({}));
  MR_RETURN_IF_ERROR(consumer->Assign(ends));
  auto writer = responder.Stream({.headers = {{"Content-Type", "application/x-ndjson"}}});
  Viewer& viewer = viewers_.emplace_back();
  viewer.thread = std::jthread(
      [consumer = std::shared_ptr<event_log::Consumer>(std::move(consumer)),
       writer = std::move(writer), done = viewer.done, source_id = std::move(source_id),
       destination_id = std::move(destination_id)](std::stop_token stop) {
        pthread_setname_np(pthread_self(), "tail");
        Follow(*consumer, *writer, stop, source_id, destination_id);
        writer->Close();
        done->store(true);
      });
  return OkStatus();
}

void Tails::Stop() {
  viewers_.clear();
}

}  // namespace millrace::control_plane
