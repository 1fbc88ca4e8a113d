#include "services/control-plane/api.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "libs/base/hash.h"
#include "libs/event/event_fields.h"
#include "millrace/event/v1/event.pb.h"
#include "services/control-plane/audit.h"
#include "services/control-plane/openapi.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;

constexpr int64_t kAuditScanLimit = 2'000'000;
constexpr int64_t kMaxLetters = 1000;

int HttpStatus(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk: return 200;
    case StatusCode::kInvalidArgument: return 400;
    case StatusCode::kUnauthenticated: return 401;
    case StatusCode::kNotFound: return 404;
    case StatusCode::kUnimplemented: return 405;
    case StatusCode::kAborted: return 409;
    case StatusCode::kResourceExhausted: return 429;
    case StatusCode::kUnavailable: return 503;
    default: return 500;
  }
}

http::Response JsonResponse(int status, const Json& body) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
          .body = body.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"};
}

http::Response Refusal(const Status& status) {
  const std::string code = absl::StatusCodeToString(status.code());
  return JsonResponse(HttpStatus(status),
                      {{"error", {{"code", code}, {"message", std::string(Message(status))}}}});
}

StatusOr<Json> BodyOf(const http::Request& request) {
  Json body = Json::parse(request.body.view(), nullptr, false);
  if (body.is_discarded()) return Error(StatusCode::kInvalidArgument, "the body is not JSON");
  return body;
}

Json AccountJson(const Account& account) {
  return {{"accepted", account.accepted}, {"delivered", account.delivered},
          {"filtered", account.filtered}, {"dropped", account.dropped},
          {"dead_lettered", account.dead_lettered}, {"duplicates", account.duplicates},
          {"pending", account.pending}, {"residual", account.Residual()}};
}

std::string NameOf(const auto& entities, const std::string& id) {
  for (const auto& entity : entities) {
    if (entity.id() == id) return entity.name();
  }
  return id;
}

Json LetterJson(const DeadLetterRow& row, bool whole) {
  const delivery::v1::DeadLetter& letter = row.letter;
  Json json = {{"id", letter.id()}, {"state", row.state}, {"stage", letter.stage()},
               {"reason", letter.reason()}, {"class", letter.error_class()},
               {"source", letter.source_id()}, {"destination", letter.destination_id()},
               {"messageId", letter.message_id()}, {"attempts", letter.attempts()},
               {"failedAt", FormatRfc3339Millis(letter.failed_at_us())}};
  if (!whole) return json;
  json["event"] = Json::parse(letter.event(), nullptr, false);
  if (json["event"].is_discarded()) json["event"] = letter.event();
  if (!letter.stack().empty()) json["stack"] = letter.stack();
  if (letter.has_last_exchange()) {
    const auto& exchange = letter.last_exchange();
    json["request"] = {{"method", exchange.method()}, {"url", exchange.url()},
                       {"body", exchange.request_body()}};
    json["answer"] = {{"status", exchange.status()}, {"body", exchange.response_body()},
                      {"error", exchange.error()}};
  }
  return json;
}

}  // namespace

std::string QueryValue(std::string_view query, std::string_view name) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    if (pair.substr(0, equals) != name || equals == std::string_view::npos) continue;
    std::string value;
    for (size_t i = equals + 1; i < pair.size(); ++i) {
      unsigned code = 0;
      if (pair[i] == '%' && i + 2 < pair.size() &&
          std::sscanf(std::string(pair.substr(i + 1, 2)).c_str(), "%2x", &code) == 1) {
        value += static_cast<char>(code);
        i += 2;
      } else {
        value += pair[i] == '+' ? ' ' : pair[i];
      }
    }
    return value;
  }
  return {};
}

void Api::Handle(const http::Request& request, const http::Responder& responder) {
  if (request.path == "/api/v1/openapi.json") {
    return responder.Send({.headers = {{"Content-Type", "application/json"}},
                           .body = std::string(OpenApiDocument())});
  }
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view authorization = request.Header("authorization");
  if (authorization.substr(0, kBearer.size()) != kBearer ||
      !ConstantTimeEqual(authorization.substr(kBearer.size()), deps_.token)) {
    return responder.Send(Refusal(Error(
        StatusCode::kUnauthenticated,
        "send 'Authorization: Bearer <token>' with the token of the file api-token in the data folder")));
  }
  if (request.path == "/api/v1/tail" && request.method == "GET") {
    const Status status = tails_.Open(responder, QueryValue(request.query, "source"),
                                      QueryValue(request.query, "destination"));
    if (!status.ok()) responder.Send(Refusal(status));
    return;
  }
  const auto answer = Route(request);
  responder.Send(answer.ok() ? JsonResponse(200, *answer) : Refusal(answer.status()));
}

StatusOr<Json> Api::Route(const http::Request& request) {
  const std::string what = request.method + " " + request.path;
  const bool dry_run = QueryValue(request.query, "dry_run") == "true";
  if (what == "GET /api/v1/workspace") {
    Json document = ToDocument(*deps_.config.Current(), deps_.destinations);
    document["revision"] = deps_.config.Current()->revision();
    return document;
  }
  if (what == "POST /api/v1/apply") {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    return Apply(body, dry_run);
  }
  if (what == "POST /api/v1/import/rudderstack") {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    return Import(body, dry_run);
  }
  if (what == "GET /api/v1/audit") return AuditNow();
  if (what == "GET /api/v1/dead-letters") return ListDeadLetters(request);
  if (what == "POST /api/v1/dead-letters/redrive") {
    MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
    return Redrive(body);
  }
  for (const char* kind : {"sources", "destinations", "connections"}) {
    if (request.path != std::string("/api/v1/") + kind) continue;
    if (request.method == "GET") {
      return ToDocument(*deps_.config.Current(), deps_.destinations)[kind];
    }
    if (request.method == "POST" || request.method == "PUT") {
      MR_ASSIGN_OR_RETURN(const Json body, BodyOf(request));
      return Apply({{kind, Json::array({body})}}, dry_run);
    }
    return Error(StatusCode::kUnimplemented, "{} takes GET, POST and PUT", request.path);
  }
  return Error(StatusCode::kNotFound, "there is nothing at {}; see /api/v1/openapi.json", what);
}

StatusOr<Json> Api::Apply(const Json& document, bool dry_run) {
  config::v1::Workspace workspace = *deps_.config.Current();
  MR_ASSIGN_OR_RETURN(const auto plan, ApplyDocument(document, deps_.destinations, &workspace));
  bool changed = false;
  Json changes = Json::array();
  for (const PlannedChange& change : plan) {
    changed = changed || change.action != "unchanged";
    changes.push_back({{"action", change.action}, {"kind", change.kind}, {"name", change.name}});
  }
  if (changed && !dry_run) {
    workspace.set_revision(workspace.revision() + 1);
    workspace.set_updated_at_us(deps_.clock.NowMicros());
    MR_RETURN_IF_ERROR(deps_.store.SaveWorkspace(workspace));
    deps_.config.Set(std::make_shared<const config::v1::Workspace>(std::move(workspace)));
  }
  return Json{{"changes", changes},
              {"applied", !dry_run},
              {"revision", deps_.config.Current()->revision()}};
}

StatusOr<Json> Api::Import(const Json& workspace_config, bool dry_run) {
  std::vector<std::string> warnings;
  MR_ASSIGN_OR_RETURN(const Json document,
                      DocumentFromRudderStack(workspace_config, deps_.destinations, &warnings));
  MR_ASSIGN_OR_RETURN(Json answer, Apply(document, dry_run));
  answer["warnings"] = warnings;
  return answer;
}

StatusOr<Json> Api::AuditNow() {
  Audit audit;
  // Under load the log moves between the two looks; a few tries find a moment at which they agree.
  for (int attempt = 0; attempt < 5; ++attempt) {
    const bool caught_up = deps_.reader.CatchUp(std::chrono::milliseconds(2000));
    audit = Audit();
    MR_ASSIGN_OR_RETURN(const auto counts, deps_.store.Counts());
    MR_RETURN_IF_ERROR(CompareWithLog(deps_.log, counts, kAuditScanLimit, &audit));
    if (caught_up && audit.unexplained == 0) break;
  }
  const auto workspace = deps_.config.Current();
  Account total;
  Json sources = Json::array(), connections = Json::array();
  for (const auto& [id, account] : audit.sources) {
    Json one = AccountJson(account);
    one["source"] = NameOf(workspace->sources(), id);
    one["passed_on"] = one["delivered"];
    one.erase("delivered");
    sources.push_back(std::move(one));
    total.accepted += account.accepted;
    total.duplicates += account.duplicates;
    total.pending += account.pending;
    total.dead_lettered += account.dead_lettered;
    total.filtered += account.filtered;
  }
  for (const auto& [ids, account] : audit.connections) {
    Json one = AccountJson(account);
    one["source"] = NameOf(workspace->sources(), ids.first);
    one["destination"] = NameOf(workspace->destinations(), ids.second);
    connections.push_back(std::move(one));
    total.pending += account.pending;
    total.delivered += account.delivered;
    total.dead_lettered += account.dead_lettered;
    total.filtered += account.filtered;
    total.dropped += account.dropped;
  }
  return Json{{"accepted", total.accepted}, {"duplicates", total.duplicates},
              {"delivered", total.delivered}, {"filtered", total.filtered},
              {"dropped", total.dropped}, {"dead_lettered", total.dead_lettered},
              {"pending", total.pending}, {"ingest_records", audit.ingest_records},
              {"residual", audit.unexplained}, {"sources", sources}, {"connections", connections}};
}

StatusOr<Json> Api::ListDeadLetters(const http::Request& request) {
  const std::string id = QueryValue(request.query, "id");
  MR_ASSIGN_OR_RETURN(const auto rows,
                      deps_.store.DeadLetters(QueryValue(request.query, "destination"),
                                              id.empty() ? std::vector<std::string>()
                                                         : std::vector<std::string>{id},
                                              kMaxLetters));
  Json list = Json::array();
  for (const DeadLetterRow& row : rows) list.push_back(LetterJson(row, !id.empty()));
  return list;
}

StatusOr<Json> Api::Redrive(const Json& body) {
  std::vector<std::string> ids;
  std::string destination;
  if (body.is_object() && body.contains("ids") && body["ids"].is_array()) {
    for (const Json& id : body["ids"]) {
      if (id.is_string()) ids.push_back(id.get<std::string>());
    }
  }
  if (body.is_object() && body.contains("destination") && body["destination"].is_string()) {
    destination = body["destination"].get<std::string>();
  }
  const bool all = body.is_object() && body.value("all", false);
  if (ids.empty() && destination.empty() && !all) {
    return Error(StatusCode::kInvalidArgument, "say which: ids, destination, or all: true");
  }
  (void)deps_.reader.CatchUp(std::chrono::milliseconds(2000));
  MR_ASSIGN_OR_RETURN(auto rows, deps_.store.DeadLetters(destination, ids, kMaxLetters));
  std::erase_if(rows, [](const DeadLetterRow& row) { return row.state != "dead"; });
  MR_RETURN_IF_ERROR(RedriveLetters(rows));
  return Json{{"redriven", rows.size()}};
}

/// Puts events back where they failed, with their counts, in one transaction of the log.
Status Api::RedriveLetters(const std::vector<DeadLetterRow>& rows) {
  if (rows.empty()) return OkStatus();
  std::vector<std::string> kept;
  kept.reserve(rows.size() * 2 + 1);
  std::vector<event_log::TopicRecord> records;
  accounting::v1::Counters counters;
  counters.set_stage("control-plane");
  counters.set_at_us(deps_.clock.NowMicros());
  std::vector<std::string> ids;
  // Oldest first, so that a user's events keep their order.
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
    const delivery::v1::DeadLetter& letter = row->letter;
    ids.push_back(letter.id());
    auto* count = counters.add_counts();
    count->set_source_id(letter.source_id());
    count->set_destination_id(letter.destination_id());
    count->set_fate(accounting::v1::REDRIVEN);
    count->set_count(1);
    std::string_view topic = event_log::kIngestTopic;
    if (letter.destination_id().empty()) {
      event::v1::EventMeta meta;
      meta.set_workspace_id(letter.workspace_id());
      meta.set_source_id(letter.source_id());
      meta.set_message_id(letter.message_id());
      meta.set_type(letter.type());
      meta.set_received_at_us(letter.received_at_us());
      kept.push_back(meta.SerializeAsString());
    } else {
      delivery::v1::DeliveryMeta meta = letter.delivery();
      meta.set_redrives(meta.redrives() + 1);
      kept.push_back(meta.SerializeAsString());
    }
    const std::string_view meta_bytes = kept.back();
    if (!letter.destination_id().empty()) {
      topic = kept.emplace_back(event_log::DestinationTopic(letter.destination_id()));
    }
    records.push_back(
        {.topic = topic,
         .record = {.key = letter.user_key(), .meta = meta_bytes, .value = letter.event()}});
  }
  kept.push_back(counters.SerializeAsString());
  records.push_back({.topic = event_log::kCountersTopic, .record = {.value = kept.back()}});
  MR_ASSIGN_OR_RETURN(const auto transaction, deps_.log.NewTransaction("control-plane-redrive"));
  MR_RETURN_IF_ERROR(transaction->Begin());
  MR_RETURN_IF_ERROR(transaction->Append(records));
  MR_RETURN_IF_ERROR(transaction->Commit());
  return deps_.store.MarkRedriven(ids);
}

}  // namespace millrace::control_plane
