#include "services/gateway/gateway.h"

#include <fmt/format.h>

#include <thread>
#include <utility>
#include <vector>

#include "libs/base/backoff.h"
#include "libs/base/failpoint.h"
#include "libs/base/hash.h"
#include "libs/event/event_fields.h"
#include "services/gateway/inflate.h"

namespace millrace::gateway {
namespace {

/// What a path asks for; kNone: nothing of ours.
enum class Endpoint { kNone, kEvents, kHealth, kSourceConfig, kSegmentSettings };

struct Target {
  Endpoint endpoint = Endpoint::kNone;
  bool batch = false;
  event::v1::EventType type{};
};

Target TargetOf(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  if (path == "/health" || path == "/health/live" || path == "/health/ready") {
    return {.endpoint = Endpoint::kHealth};
  }
  if (path == "/sourceConfig") return {.endpoint = Endpoint::kSourceConfig};
  if (path.substr(0, 13) == "/v1/projects/") return {.endpoint = Endpoint::kSegmentSettings};
  if (path == "/beacon/v1/batch") return {.endpoint = Endpoint::kEvents, .batch = true};
  if (path.substr(0, 4) != "/v1/") return {};
  const std::string_view name = path.substr(4);
  if (name == "batch" || name == "b" || name == "import") {
    return {.endpoint = Endpoint::kEvents, .batch = true};
  }
  constexpr std::pair<std::string_view, event::v1::EventType> kShort[] = {
      {"i", event::v1::IDENTIFY}, {"t", event::v1::TRACK}, {"p", event::v1::PAGE},
      {"s", event::v1::SCREEN},   {"g", event::v1::GROUP}, {"a", event::v1::ALIAS}};
  for (const auto& [letter, type] : kShort) {
    if (name == letter) return {.endpoint = Endpoint::kEvents, .type = type};
  }
  const event::v1::EventType type = event::ParseEventType(name);
  if (type == event::v1::EVENT_TYPE_UNSPECIFIED || type == event::v1::RECORD) return {};
  return {.endpoint = Endpoint::kEvents, .type = type};
}

/// The user of Basic credentials, whose password SDKs leave empty.
std::string BasicUser(std::string_view authorization) {
  constexpr std::string_view kBasic = "Basic ";
  std::string credentials;
  if (authorization.substr(0, kBasic.size()) != kBasic ||
      !DecodeBase64(authorization.substr(kBasic.size()), &credentials)) {
    return {};
  }
  return credentials.substr(0, credentials.find(':'));
}

std::string QueryWriteKey(std::string_view query) {
  constexpr std::string_view kName = "writeKey=";
  const size_t at = query.find(kName);
  if (at == std::string_view::npos || (at > 0 && query[at - 1] != '&')) return {};
  const std::string_view rest = query.substr(at + kName.size());
  return std::string(rest.substr(0, rest.find('&')));
}

/// Browsers: any origin may send, with its credentials, and remember that for 15 minutes. (With a
/// Max-Age of 0 the last batch before a page unloads is lost: its preflight goes out, the POST does not.)
http::Headers CorsHeaders(const http::Request& request) {
  const std::string_view origin = request.Header("origin");
  if (origin.empty()) return {};
  return {{"Access-Control-Allow-Origin", std::string(origin)},
          {"Access-Control-Allow-Credentials", "true"},
          {"Vary", "Origin"}};
}

http::Response Preflight(const http::Request& request) {
  http::Response response{.status = 204, .headers = CorsHeaders(request)};
  response.headers.emplace_back("Access-Control-Allow-Methods", "GET, POST, OPTIONS");
  const std::string_view asked = request.Header("access-control-request-headers");
  if (!asked.empty()) response.headers.emplace_back("Access-Control-Allow-Headers", asked);
  response.headers.emplace_back("Access-Control-Max-Age", "900");
  return response;
}

}  // namespace

Gateway::Gateway(const settings::v1::GatewaySettings& settings, Deps deps)
    : deps_(deps),
      limits_{.max_event_bytes =
                  settings.max_event_bytes() == 0 ? 1u << 20 : settings.max_event_bytes()},
      max_body_bytes_(settings.max_body_bytes() == 0 ? 4'096'000 : settings.max_body_bytes()),
      trust_forwarded_for_(settings.trust_forwarded_for()) {}

StatusOr<std::unique_ptr<Gateway>> Gateway::Create(const settings::v1::GatewaySettings& settings,
                                                   Deps deps) {
  MR_RETURN_IF_ERROR(deps.log.EnsureTopic(std::string(event_log::kIngestTopic),
                                          {.partitions = deps.ingest_partitions}));
  std::unique_ptr<Gateway> gateway(new Gateway(settings, deps));
  MR_ASSIGN_OR_RETURN(gateway->appender_, deps.log.NewAppender());
  gateway->subscription_ = deps.workspace.Subscribe(
      [raw = gateway.get()](const config::WorkspacePtr& workspace) { raw->OnWorkspace(workspace); });
  return gateway;
}

Gateway::~Gateway() {
  subscription_.reset();
  appender_.reset();  // answers what is outstanding
}

void Gateway::OnWorkspace(const config::WorkspacePtr& workspace) {
  auto keys = std::make_shared<WriteKeys>();
  for (const auto& source : workspace->sources()) {
    const telemetry::Labels labels = {{"source", source.id()}};
    const SourceEntry entry{
        .workspace_id = workspace->id(),
        .source_id = source.id(),
        .enabled = source.enabled(),
        .accepted = &deps_.metrics.GetCounter("millrace_gateway_events_accepted_total",
                                              "Events taken and durable.", labels),
        .rejected = &deps_.metrics.GetCounter("millrace_gateway_events_rejected_total",
                                              "Events taken that go to the dead letters.", labels),
        .repaired = &deps_.metrics.GetCounter("millrace_gateway_events_repaired_total",
                                              "Events whose JSON was repaired.", labels)};
    for (const std::string& key : source.write_keys()) keys->by_key.emplace(key, entry);
  }
  write_keys_.Set(std::move(keys));
}

void Gateway::Answer(const http::Responder& responder, int status, std::string_view body,
                     http::Headers headers) {
  headers.emplace_back("Content-Type", "text/plain; charset=utf-8");
  if (status == 503) headers.emplace_back("Retry-After", FastRandom() % 2 == 0 ? "1" : "2");
  std::string text(body);
  if (status != 200) {
    text += '\n';
    deps_.metrics
        .GetCounter("millrace_gateway_requests_refused_total", "Requests not answered with 200.",
                    {{"status", std::to_string(status)}})
        .Increment();
  }
  responder.Send({.status = status, .headers = std::move(headers), .body = std::move(text)});
}

void Gateway::Handle(http::Request request, http::Responder responder) {
  if (request.method == "OPTIONS") return responder.Send(Preflight(request));
  const Target target = TargetOf(request.path);
  http::Headers json = CorsHeaders(request);
  json.emplace_back("Content-Type", "application/json");
  switch (target.endpoint) {
    case Endpoint::kNone:
      return Answer(responder, 404, "not found", CorsHeaders(request));
    case Endpoint::kHealth: {
      const bool good = request.path.find("ready") == std::string::npos || Ready();
      return responder.Send({.status = good ? 200 : 503,
                             .headers = std::move(json),
                             .body = good ? R"({"status":"UP"})" : R"({"status":"NOT_READY"})"});
    }
    case Endpoint::kSourceConfig: {
      std::string key = BasicUser(request.Header("authorization"));
      if (key.empty()) key = QueryWriteKey(request.query);
      const auto keys = write_keys_.Get();
      const auto found = keys->by_key.find(key);
      if (found == keys->by_key.end()) {
        return Answer(responder, 401, "invalid write key", CorsHeaders(request));
      }
      // Destinations are all cloud mode: one listed here would be loaded into the page.
      return responder.Send(
          {.headers = std::move(json),
           .body = fmt::format(R"({{"source":{{"id":{},"enabled":{},"config":{{}},"destinations":[]}}}})",
                               event::QuoteJson(found->second.source_id), found->second.enabled)});
    }
    case Endpoint::kSegmentSettings: {
      const std::string rest = request.path.substr(13);
      return responder.Send(
          {.headers = std::move(json),
           .body = fmt::format(R"({{"integrations":{{"Segment.io":{{"apiKey":{}}}}},"plan":{{}}}})",
                               event::QuoteJson(rest.substr(0, rest.find('/'))))});
    }
    case Endpoint::kEvents:
      break;
  }
  if (request.method != "POST") {
    return Answer(responder, 400, "invalid http request method", CorsHeaders(request));
  }
  std::string_view ip = request.remote_ip;
  if (const std::string_view forwarded = request.Header("x-forwarded-for");
      trust_forwarded_for_ && !forwarded.empty()) {
    ip = forwarded.substr(forwarded.rfind(',') + 1);
    while (!ip.empty() && ip.front() == ' ') ip.remove_prefix(1);
  }
  const RequestInfo info{.batch = target.batch,
                         .type = target.type,
                         .request_ip = ip,
                         .received_at_us = deps_.clock.NowMicros()};
  HandleEvents(request, info, responder);
}

void Gateway::HandleEvents(const http::Request& request, const RequestInfo& info,
                           const http::Responder& responder) {
  http::Headers cors = CorsHeaders(request);
  std::shared_ptr<const std::string> inflated;
  std::string_view body = request.body.view();
  if (body.substr(0, 2) == "\x1f\x8b") {  // gzip, whatever the header says
    auto content = Inflate(body, max_body_bytes_);
    if (!content.ok()) {
      const bool large = content.status().code() == StatusCode::kResourceExhausted;
      return Answer(responder, large ? 413 : 400, Message(content.status()), std::move(cors));
    }
    inflated = std::make_shared<const std::string>(*std::move(content));
    body = *inflated;
  }
  Acceptance acceptance;
  const Status status = Accept(body, info, limits_, &acceptance);

  std::string key = BasicUser(request.Header("authorization"));
  if (key.empty()) key = QueryWriteKey(request.query);
  if (key.empty()) key = acceptance.write_key;
  const auto keys = write_keys_.Get();
  const auto source = keys->by_key.find(key);
  if (key.empty()) return Answer(responder, 401, "failed to read writekey from header", std::move(cors));
  if (source == keys->by_key.end()) {
    return Answer(responder, 401, "invalid write key", std::move(cors));
  }
  if (!source->second.enabled) return Answer(responder, 404, "source is disabled", std::move(cors));
  if (!status.ok()) {
    const bool large = status.code() == StatusCode::kResourceExhausted;
    return Answer(responder, large ? 413 : 400, Message(status), std::move(cors));
  }
  if (const Status failpoint = Failpoint("gateway.before_append"); !failpoint.ok()) {
    return Answer(responder, 503, "service unavailable", std::move(cors));
  }
  Append(source->second, acceptance, std::move(cors), responder);
}

void Gateway::Append(const SourceEntry& source, Acceptance& acceptance, http::Headers cors,
                     const http::Responder& responder) {
  thread_local std::vector<event_log::TopicRecord> records;
  thread_local std::vector<std::string> keys;
  thread_local std::vector<std::string> metas;
  const size_t count = acceptance.events.size();
  records.clear();
  if (metas.size() < count) {
    metas.resize(count);
    keys.resize(count);
  }
  for (size_t i = 0; i < count; ++i) {
    AcceptedEvent& event = acceptance.events[i];
    event.meta.set_workspace_id(source.workspace_id);
    event.meta.set_source_id(source.source_id);
    event.meta.SerializeToString(&metas[i]);
    keys[i] = event::UserKey(source.workspace_id, event.user_key_user, {});
    records.push_back({.topic = event_log::kIngestTopic,
                       .record = {.key = keys[i], .meta = metas[i], .value = event.bytes}});
  }
  ++in_flight_;
  appender_->Append(
      records, [this, accepted = source.accepted, rejected = source.rejected,
                repaired = source.repaired, count, bad = acceptance.rejected,
                mended = acceptance.repaired, cors = std::move(cors),
                responder](const Status& status) mutable {
        if (status.ok()) {
          accepted->Add(static_cast<double>(count));
          if (bad > 0) rejected->Add(bad);
          if (mended > 0) repaired->Add(mended);
          (void)Failpoint("gateway.after_append");
          Answer(responder, 200, "ok", std::move(cors));
        } else if (status.code() == StatusCode::kInvalidArgument) {
          Answer(responder, 413, "request size exceeds max limit", std::move(cors));
        } else {
          Answer(responder, 503, "service unavailable", std::move(cors));
        }
        --in_flight_;
      });
}

bool Gateway::Drain(std::chrono::milliseconds deadline) {
  const auto until = std::chrono::steady_clock::now() + deadline;
  while (in_flight_ > 0) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace millrace::gateway
