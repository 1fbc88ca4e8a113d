// From a request's body to the log.

#include <algorithm>

#include "libs/event/event_fields.h"
#include "libs/event/repair.h"
#include "libs/event/scan.h"
#include "services/gateway/batch_body.h"
#include "services/gateway/gunzip.h"
#include "services/gateway/http_fields.h"
#include "services/gateway/ingest_call.h"

namespace millrace::gateway {
namespace {

// Deeper bodies are refused as a whole; an event that is too deep by itself costs only itself.
constexpr int kMaxBodyDepth = 4096;

constexpr std::string_view kRefused =
    "service unavailable: a destination of the source has no room for more events";

std::string TooMany(size_t limit) {
  return fmt::format("a request takes at most {} events; send the rest in another one", limit);
}

}  // namespace

void Gateway::Ingest(const Route& route, http::Request request, Call call) {
  if (!sources_.Ready()) return Answer(call, 503, "service unavailable");
  std::string key = route.beacon ? std::string() : BasicUser(request.Header("authorization"));
  if (key.empty()) key = QueryParameter(request.query, "writeKey");
  std::shared_ptr<const SourceEntry> source;
  // Senders without a key, or with a wrong one, are turned away before their body costs anything.
  if (!key.empty()) {
    source = sources_.Find(key);
    if (TurnedAway(source.get(), call)) return;
  }
  const std::string_view body = request.body.view();
  if (body.empty()) return Answer(call, 400, "request body is nil");
  // Whatever the header says: JSON never starts like this.
  const bool packed = IsGzip(body);
  const std::string_view coding = request.Header("content-encoding");
  if (!packed && !coding.empty() && coding != "identity") {
    return Answer(call, 400, "failed to read body from request");
  }
  if (body.size() > kInlineBodyBytes) {
    return IngestLater(route, std::move(request), std::move(source), std::move(call));
  }
  if (!packed) return IngestBody(route, request, body, std::move(source), std::move(call));
  const auto text = Gunzip(body, std::min(max_body_bytes_, kInlineBodyBytes));
  if (!text.ok() && text.status().code() == StatusCode::kResourceExhausted) {
    return IngestLater(route, std::move(request), std::move(source), std::move(call));
  }
  if (!text.ok()) return Answer(call, 400, "failed to read body from request");
  IngestBody(route, request, *text, std::move(source), std::move(call));
}

void Gateway::IngestLater(const Route& route, http::Request request,
                          std::shared_ptr<const SourceEntry> source, Call call) {
  struct Work {
    http::Request request;
    std::shared_ptr<const SourceEntry> source;
    Call call;
  };
  const auto work =
      std::make_shared<Work>(Work{std::move(request), std::move(source), std::move(call)});
  Enter();
  const bool posted = workers_->Post([this, &route, work] {
    IngestLarge(route, work->request, std::move(work->source), std::move(work->call));
    Leave();
  });
  if (posted) return;
  Leave();
  Answer(work->call, 503, "service unavailable");
}

void Gateway::IngestLarge(const Route& route, const http::Request& request,
                          std::shared_ptr<const SourceEntry> source, Call call) {
  const std::string_view body = request.body.view();
  if (!IsGzip(body)) return IngestBody(route, request, body, std::move(source), std::move(call));
  const auto text = Gunzip(body, max_body_bytes_);
  if (!text.ok() && text.status().code() == StatusCode::kResourceExhausted) {
    return Answer(call, 413, "request size exceeds max limit");
  }
  if (!text.ok()) return Answer(call, 400, "failed to read body from request");
  IngestBody(route, request, *text, std::move(source), std::move(call));
}

void Gateway::IngestBody(const Route& route, const http::Request& request, std::string_view body,
                         std::shared_ptr<const SourceEntry> source, Call call) {
  if (body.size() > max_body_bytes_) return Answer(call, 413, "request size exceeds max limit");
  if (body.substr(0, 3) == "\xef\xbb\xbf") body.remove_prefix(3);
  const bool batch = route.kind == Route::Kind::kBatch;
  // Before anything that costs more than a look at the bytes.
  if (batch && body.size() > kInlineBodyBytes && CountBatch(body) > max_batch_events_) {
    return AnswerTooMany(call);
  }
  const bool tolerant = !IsPlainJson(body);
  if (tolerant && !event::Repair(body, kMaxBodyDepth).ok())
    return Answer(call, 400, "invalid json");
  const char* const end = body.data() + body.size();
  const char* const begin = event::scan::SkipSpace(body.data(), end);
  if (begin == end || *begin != '{') {
    return Answer(call, 400, batch ? "empty batch payload" : "event is not a valid rudder event");
  }
  BatchBody outer;
  if ((batch || source == nullptr) && !ScanBatchBody(body, &outer))
    return Answer(call, 400, "invalid json");
  const bool has_batch = !outer.batch.empty() && outer.batch.front() == '[';
  if (source == nullptr) {
    std::string key = event::DecodeText(outer.write_key);
    if (key.empty() && batch && has_batch) key = WriteKeyOfEvents(outer.batch);
    if (key.empty()) {
      return Answer(call, 401,
                    route.beacon ? "failed to read writekey from query params"
                                 : "failed to read writekey from header");
    }
    source = sources_.Find(key);
    if (TurnedAway(source.get(), call)) return;
  }
  source->bytes->Add(static_cast<double>(body.size()));
  Acceptance acceptance({.source = source.get(),
                         .remote_ip = RemoteIp(request),
                         .received_at_us = clock_.NowMicros(),
                         .max_event_bytes = max_event_bytes_,
                         .max_event_keys = max_event_keys_});
  acceptance.set_tolerant(tolerant);
  if (!batch) {
    acceptance.set_path_type(route.type);
    Fault fault;
    if (acceptance.Take(begin, end, &fault) == nullptr) return Answer(call, 400, "invalid json");
    if (fault.status != 0) {
      source->rejected->Increment();
      return Answer(call, fault.status, fault.body);
    }
    return Append(acceptance, std::move(source), std::move(call));
  }
  if (!has_batch) return Answer(call, 400, "empty batch payload");
  if (int64_t sent_at = 0; ParseTimestamp(event::DecodeText(outer.sent_at), &sent_at)) {
    acceptance.set_sent_at_us(sent_at);
  }
  event::scan::Elements elements(outer.batch.data(), end);
  const char* at = nullptr;
  size_t count = 0;
  while (elements.Next(&at)) {
    if (++count > max_batch_events_) return AnswerTooMany(call);
    const char* const after = acceptance.Take(at, end);
    if (after == nullptr) return Answer(call, 400, "invalid json");
    elements.Advance(after);
  }
  if (count == 0) return Answer(call, 400, "empty batch payload");
  Append(acceptance, std::move(source), std::move(call));
}

// Answers when the source's events are not taken now.
bool Gateway::TurnedAway(const SourceEntry* source, const Call& call) const {
  if (source == nullptr) {
    Answer(call, 401, "invalid write key");
  } else if (!source->enabled) {
    Answer(call, 404, "source is disabled");
  } else if (refuses_ != nullptr && refuses_(*source)) {
    Answer(call, 503, kRefused);
  } else {
    return false;
  }
  return true;
}

void Gateway::AnswerTooMany(const Call& call) const {
  Answer(call, 413, TooMany(max_batch_events_));
}

void Gateway::CountEvents(const SourceEntry& source, const Taken& taken, uint32_t repaired) const {
  if (taken.accepted > 0) source.accepted->Add(taken.accepted);
  if (taken.rejected > 0) source.rejected->Add(taken.rejected);
  if (repaired > 0) source.repaired->Add(repaired);
}

void Gateway::Append(Acceptance& acceptance, std::shared_ptr<const SourceEntry> source, Call call) {
  const Taken taken{acceptance.accepted(), acceptance.rejected()};
  Enter();
  appender_->Append(acceptance.Finish(),
                    [this, taken, repaired = acceptance.repaired(), source = std::move(source),
                     call = std::move(call)](const Status& status) {
                      NoteAppend(status.ok() || status.code() == StatusCode::kInvalidArgument);
                      if (status.ok()) {
                        CountEvents(*source, taken, repaired);
                        Answer(call, 200, "ok");
                      } else if (status.code() == StatusCode::kInvalidArgument) {
                        Answer(call, 413, "request size exceeds max limit");
                      } else {
                        Answer(call, 503, "service unavailable");
                      }
                      Leave();
                    });
}

void Gateway::TakeEvents(std::string_view write_key, std::span<const std::string_view> events,
                         std::string_view remote_ip, TakenDone done) {
  const auto refuse = [&done](StatusCode code, std::string_view message) {
    done(MakeStatus(code, message), {});
  };
  if (!sources_.Ready()) return refuse(StatusCode::kUnavailable, "service unavailable");
  std::shared_ptr<const SourceEntry> source = sources_.Find(write_key);
  if (source == nullptr) return refuse(StatusCode::kUnauthenticated, "invalid write key");
  if (!source->enabled) return refuse(StatusCode::kFailedPrecondition, "source is disabled");
  if (refuses_ != nullptr && refuses_(*source)) return refuse(StatusCode::kUnavailable, kRefused);
  if (events.empty()) return refuse(StatusCode::kInvalidArgument, "empty batch payload");
  if (events.size() > max_batch_events_) {
    return refuse(StatusCode::kInvalidArgument, TooMany(max_batch_events_));
  }
  Acceptance acceptance({.source = source.get(),
                         .remote_ip = remote_ip,
                         .received_at_us = clock_.NowMicros(),
                         .max_event_bytes = max_event_bytes_,
                         .max_event_keys = max_event_keys_});
  size_t bytes = 0;
  for (const std::string_view json : events) {
    bytes += json.size();
    acceptance.TakeUnchecked(json);
  }
  source->bytes->Add(static_cast<double>(bytes));
  const Taken taken{acceptance.accepted(), acceptance.rejected()};
  Enter();
  appender_->Append(acceptance.Finish(),
                    [this, taken, repaired = acceptance.repaired(), source = std::move(source),
                     done = std::move(done)](const Status& status) {
                      NoteAppend(status.ok() || status.code() == StatusCode::kInvalidArgument);
                      if (status.ok()) CountEvents(*source, taken, repaired);
                      done(status, status.ok() ? taken : Taken{});
                      Leave();
                    });
}

}  // namespace millrace::gateway
