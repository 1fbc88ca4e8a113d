#include "services/gateway/gateway.h"

#include "libs/base/backoff.h"
#include "libs/event/event_fields.h"
#include "services/gateway/gunzip.h"
#include "services/gateway/http_fields.h"
#include "services/gateway/ingest_call.h"
#include "services/gateway/sequenced_appender.h"

namespace millrace::gateway {
namespace {

constexpr size_t kDefaultBodyBytes = 4'096'000;
constexpr size_t kDefaultEventBytes = 900'000;
constexpr size_t kDefaultBatchEvents = 2500;
constexpr size_t kDefaultEventKeys = 10'000;
// Of large bodies that wait for their turn; beyond it the answer is 503.
constexpr size_t kMaxWaitingBodies = 64;
// Not ready when the log has taken nothing for so long.
constexpr std::chrono::microseconds kRefusing = std::chrono::seconds(5);

int64_t MicrosOf(MonotonicTime time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
}

size_t Or(uint64_t value, size_t fallback) {
  return value == 0 ? fallback : static_cast<size_t>(value);
}

const std::vector<double>& RequestBounds() {
  static const std::vector<double> kBounds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                              0.1,    0.25,  0.5,    1,     2.5,  5,     10};
  return kBounds;
}

}  // namespace

http::ServerOptions Gateway::ServerOptionsOf(const settings::v1::GatewaySettings& settings) {
  http::ServerOptions options;
  options.address = settings.address().empty() ? "0.0.0.0" : settings.address();
  options.port = static_cast<uint16_t>(Or(settings.port(), 8080));
  options.threads = static_cast<int>(Or(settings.threads(), 1));
  options.max_body_bytes = Or(settings.max_body_bytes(), kDefaultBodyBytes);
  options.max_connections = Or(settings.max_connections(), options.max_connections);
  options.max_buffered_bytes = Or(settings.max_buffered_bytes(), options.max_buffered_bytes);
  // Large and packed bodies go another way through the gateway, on which small ones that came later
  // would overtake them: the order of a user's events would change.
  options.pipelined = [](const http::Request& request) {
    return request.method == "POST" && request.path.rfind("/api/", 0) != 0 &&
           request.body.size() <= kInlineBodyBytes && !IsGzip(request.body.view());
  };
  return options;
}

Gateway::Gateway(const settings::v1::GatewaySettings& settings, const Deps& deps)
    : max_body_bytes_(Or(settings.max_body_bytes(), kDefaultBodyBytes)),
      max_event_bytes_(Or(settings.max_event_bytes(), kDefaultEventBytes)),
      max_event_keys_(Or(settings.max_event_keys(), kDefaultEventKeys)),
      max_batch_events_(Or(settings.max_batch_events(), kDefaultBatchEvents)),
      trust_forwarded_for_(settings.trust_forwarded_for()),
      refuses_(deps.refuses),
      clock_(deps.clock),
      metrics_(deps.metrics),
      duration_(deps.metrics.GetHistogram("millrace_gateway_request_duration_seconds",
                                          "From the request's last byte to the answer.",
                                          RequestBounds())),
      sources_(deps.config, deps.metrics),
      workers_(std::make_unique<BodyWorkers>(static_cast<int>(Or(settings.threads(), 1)),
                                             kMaxWaitingBodies)) {}

Gateway::~Gateway() {
  workers_.reset();
  appender_.reset();
}

StatusOr<std::unique_ptr<Gateway>> Gateway::Create(const settings::v1::GatewaySettings& settings,
                                                   Deps deps) {
  MR_ASSIGN_OR_RETURN(const auto partitions,
                      deps.log.Describe(std::string(event_log::kIngestTopic)));
  std::unique_ptr<Gateway> gateway(new Gateway(settings, deps));
  std::unique_ptr<event_log::Appender> appender = std::move(deps.appender);
  if (appender == nullptr) {
    MR_ASSIGN_OR_RETURN(appender, deps.log.NewAppender());
  }
  gateway->appender_ = std::make_unique<SequencedAppender>(
      std::move(appender),
      SequencedAppender::Options{.gateway = std::move(deps.instance),
                                 .started_at_us = deps.clock.NowMicros(),
                                 .partitions = static_cast<int32_t>(partitions.size()),
                                 .whole_appends = deps.whole_appends});
  return gateway;
}

bool Gateway::Ready() const {
  if (draining_.load() || !sources_.Ready()) return false;
  const int64_t since = refusing_since_us_.load();
  if (since == 0) return true;
  const int64_t now = MicrosOf(clock_.Monotonic());
  // Once nobody sends any more there is nothing to tell by: requests may come again.
  return now - since < kRefusing.count() || now - refused_at_us_.load() > 2 * kRefusing.count();
}

void Gateway::NoteAppend(bool taken) {
  if (taken) {
    if (refusing_since_us_.load(std::memory_order_relaxed) != 0) refusing_since_us_.store(0);
    return;
  }
  const int64_t now = MicrosOf(clock_.Monotonic());
  int64_t none = 0;
  // After a silence, what was refused long ago says nothing of now.
  if (now - refused_at_us_.load() > 2 * kRefusing.count()) refusing_since_us_.store(0);
  refusing_since_us_.compare_exchange_strong(none, now);
  refused_at_us_.store(now);
}

void Gateway::Enter() {
  running_.fetch_add(1);
}

void Gateway::Leave() {
  if (running_.fetch_sub(1) != 1 || !draining_.load()) return;
  MutexLock lock(mu_);
  idle_.notify_all();
}

bool Gateway::Drain(std::chrono::milliseconds deadline) {
  draining_.store(true);
  MutexLock lock(mu_);
  return idle_.wait_for(lock.native(), deadline, [this] { return running_.load() == 0; });
}

std::string_view Gateway::RemoteIp(const http::Request& request) const {
  if (!trust_forwarded_for_) return request.remote_ip;
  std::string_view chain = request.Header("x-forwarded-for");
  if (const size_t comma = chain.rfind(','); comma != std::string_view::npos) {
    chain.remove_prefix(comma + 1);
  }
  while (!chain.empty() && chain.front() == ' ') chain.remove_prefix(1);
  return chain.empty() ? std::string_view(request.remote_ip) : chain;
}

void Gateway::AnswerWith(const Call& call, http::Response response) const {
  if (!call.origin.empty()) {
    response.headers.emplace_back("Access-Control-Allow-Origin", call.origin);
    response.headers.emplace_back("Access-Control-Allow-Credentials", "true");
    response.headers.emplace_back("Vary", "Origin");
  }
  const int status = response.status;
  auto& slot = requests_by_status_[static_cast<size_t>(status) % 600];
  telemetry::Counter* counter = slot.load(std::memory_order_acquire);
  if (counter == nullptr) {
    counter = &metrics_.GetCounter("millrace_gateway_requests_total", "Requests by status.",
                                   {{"status", std::to_string(status)}});
    slot.store(counter, std::memory_order_release);
  }
  counter->Increment();
  duration_.Observe(std::chrono::duration<double>(clock_.Monotonic() - call.started).count());
  call.responder.Send(std::move(response));
}

void Gateway::Answer(const Call& call, int status, std::string_view body) const {
  http::Response response;
  response.status = status;
  response.headers.reserve(5);
  response.headers.emplace_back("Content-Type", "text/plain; charset=utf-8");
  if (status == 503 || status == 429) {
    response.headers.emplace_back("Retry-After", std::to_string(1 + FastRandom() % 3));
  }
  response.body.reserve(body.size() + 1);
  response.body = body;
  if (status >= 400) response.body += '\n';
  AnswerWith(call, std::move(response));
}

void Gateway::Handle(http::Request request, http::Responder responder) {
  Call call{std::move(responder), clock_.Monotonic(), std::string(request.Header("origin"))};
  std::string_view path = request.path;
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  using Kind = Route::Kind;
  static const StringMap<Route> kRoutes = {
      {"/v1/identify", {Kind::kSingle, event::v1::IDENTIFY, false}},
      {"/v1/i", {Kind::kSingle, event::v1::IDENTIFY, false}},
      {"/v1/track", {Kind::kSingle, event::v1::TRACK, false}},
      {"/v1/t", {Kind::kSingle, event::v1::TRACK, false}},
      {"/v1/page", {Kind::kSingle, event::v1::PAGE, false}},
      {"/v1/p", {Kind::kSingle, event::v1::PAGE, false}},
      {"/v1/screen", {Kind::kSingle, event::v1::SCREEN, false}},
      {"/v1/s", {Kind::kSingle, event::v1::SCREEN, false}},
      {"/v1/group", {Kind::kSingle, event::v1::GROUP, false}},
      {"/v1/g", {Kind::kSingle, event::v1::GROUP, false}},
      {"/v1/alias", {Kind::kSingle, event::v1::ALIAS, false}},
      {"/v1/a", {Kind::kSingle, event::v1::ALIAS, false}},
      {"/v1/merge", {Kind::kSingle, event::v1::MERGE, false}},
      {"/v1/batch", {Kind::kBatch, event::v1::EVENT_TYPE_UNSPECIFIED, false}},
      {"/v1/b", {Kind::kBatch, event::v1::EVENT_TYPE_UNSPECIFIED, false}},
      {"/v1/import", {Kind::kBatch, event::v1::EVENT_TYPE_UNSPECIFIED, false}},
      {"/beacon/v1/batch", {Kind::kBatch, event::v1::EVENT_TYPE_UNSPECIFIED, true}},
  };
  const bool read = request.method == "GET" || request.method == "HEAD";
  if (request.method == "OPTIONS") {
    http::Response response{
        204,
        {{"Access-Control-Allow-Methods", "GET, POST, OPTIONS"}, {"Access-Control-Max-Age", "900"}},
        {}};
    if (const auto wanted = request.Header("access-control-request-headers"); !wanted.empty()) {
      response.headers.emplace_back("Access-Control-Allow-Headers", wanted);
    }
    return AnswerWith(call, std::move(response));
  }
  if (const auto route = kRoutes.find(path); route != kRoutes.end()) {
    if (request.method != "POST") return Answer(call, 400, "invalid http request method");
    return Ingest(route->second, std::move(request), std::move(call));
  }
  constexpr std::string_view kProjects = "/v1/projects/", kSettings = "/settings";
  if (read && path == "/sourceConfig") return SourceConfig(request, call);
  if (read && path.size() > kProjects.size() + kSettings.size() &&
      path.substr(0, kProjects.size()) == kProjects &&
      path.substr(path.size() - kSettings.size()) == kSettings) {
    path.remove_prefix(kProjects.size());
    path.remove_suffix(kSettings.size());
    return ProjectSettings(request, path, call);
  }
  if (read && (path == "/health" || path == "/")) {
    return AnswerWith(call, {200,
                             {{"Content-Type", "application/json"}},
                             R"({"service":"millrace-gateway","server":"UP","ready":)" +
                                 std::string(Ready() ? "true}" : "false}")});
  }
  if (read && path == "/health/live") return Answer(call, 200, "ok");
  if (read && path == "/health/ready") {
    return Ready() ? Answer(call, 200, "ok") : Answer(call, 503, "not ready");
  }
  Answer(call, 404, "no such path");
}

void Gateway::SourceConfig(const http::Request& request, const Call& call) const {
  if (!sources_.Ready()) return Answer(call, 503, "service unavailable");
  std::string key = BasicUser(request.Header("authorization"));
  if (key.empty()) key = QueryParameter(request.query, "writeKey");
  if (key.empty()) return Answer(call, 401, "failed to read writekey from header");
  const auto source = sources_.Find(key);
  if (source == nullptr) return Answer(call, 401, "invalid write key");
  // Destinations listed here would be loaded into the page; ours are all reached from the server.
  std::string body = R"({"source":{"id":)" + event::QuoteJson(source->id) + R"(,"name":)" +
                     event::QuoteJson(source->name) + R"(,"writeKey":)" + event::QuoteJson(key) +
                     R"(,"enabled":)" + (source->enabled ? "true" : "false") +
                     R"(,"workspaceId":)" + event::QuoteJson(source->workspace_id) +
                     R"(,"config":{},"destinations":[]}})";
  AnswerWith(call, {200, {{"Content-Type", "application/json"}}, std::move(body)});
}

void Gateway::ProjectSettings(const http::Request& request, std::string_view write_key,
                              const Call& call) const {
  if (!sources_.Ready()) return Answer(call, 503, "service unavailable");
  if (sources_.Find(write_key) == nullptr) return Answer(call, 401, "invalid write key");
  // Segment's SDK sends with the key and to the host that stand here.
  const std::string host = std::string(request.Header("host")) + "/v1";
  const bool tls = request.Header("x-forwarded-proto") == "https";
  std::string body =
      R"({"integrations":{"Segment.io":{"apiKey":)" + event::QuoteJson(write_key) +
      R"(,"apiHost":)" + event::QuoteJson(host) + R"(,"protocol":")" + (tls ? "https" : "http") +
      R"(","unbundledIntegrations":[],"addBundledMetadata":true}},)"
      R"("plan":{"track":{"__default":{"enabled":true}},"identify":{"__default":{"enabled":true}},)"
      R"("group":{"__default":{"enabled":true}}},"edgeFunction":{},"remotePlugins":[],)"
      R"("analyticsNextEnabled":true})";
  AnswerWith(call, {200, {{"Content-Type", "application/json"}}, std::move(body)});
}

}  // namespace millrace::gateway
