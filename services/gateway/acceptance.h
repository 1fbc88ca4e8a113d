#pragma once

#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "millrace/event/v1/event.pb.h"
#include "services/gateway/sources.h"

namespace millrace::gateway {

/// Why an event cannot be accepted; empty: it can.
struct Fault {
  int status = 0;           // for a request of one event
  std::string_view body;    // the same: what RudderStack answers
  std::string_view reason;  // for the dead letters
};

/// Turns events into records of topic `ingest`. One object per request, used by one thread; the
/// records live as long as it and as the bodies the events are slices of.
class Acceptance {
 public:
  struct Request {
    const SourceEntry* source = nullptr;
    std::string_view remote_ip;
    int64_t received_at_us = 0;
    int64_t sent_at_us = 0;  // of the request, 0 = absent
    size_t max_event_bytes = 0;
    size_t max_event_keys = 0;
  };

  explicit Acceptance(const Request& request);
  Acceptance(const Acceptance&) = delete;
  Acceptance& operator=(const Acceptance&) = delete;

  /// The type that events have which the request's path names; they need none themselves.
  void set_path_type(event::v1::EventType type) { path_type_ = type; }
  /// The bodies were refused by the fast parser: each event is checked and mended on its own.
  void set_tolerant(bool tolerant) { tolerant_ = tolerant; }
  void set_sent_at_us(int64_t sent_at_us) { request_.sent_at_us = sent_at_us; }

  /// Takes one event, whose JSON starts at `at` and may be followed by other text up to `end`;
  /// answers where it ends, or null when that cannot be found. A faulty event is recorded with the
  /// reason, unless `fault` is given: then nothing is recorded and it is told.
  const char* Take(const char* at, const char* end, Fault* fault = nullptr);

  /// As Take, for an event on its own whose JSON nobody has checked yet.
  void TakeUnchecked(std::string_view json);

  /// The records, once all events have been taken: several refused events are one of them, with
  /// their reasons and a few samples (EventMeta.rejected_count).
  const std::vector<event_log::TopicRecord>& Finish();
  uint32_t accepted() const { return accepted_; }
  uint32_t rejected() const { return rejected_; }
  uint32_t repaired() const { return repaired_; }

 private:
  struct Event;
  Fault Judge(Event& event);
  void Stamp(Event& event);
  void Refuse(const Event& event, const Fault& fault);
  void Record(const Event& event, const Fault& fault);
  event_log::TopicRecord Pack(event::v1::EventMeta& meta, std::string_view value);
  std::string Refused(std::string* value) const;
  std::string_view Keep(std::string_view text);

  Request request_;
  event::v1::EventType path_type_ = event::v1::EVENT_TYPE_UNSPECIFIED;
  bool tolerant_ = false;
  char buffer_[16 << 10];
  std::pmr::monotonic_buffer_resource arena_{buffer_, sizeof buffer_};
  std::vector<event_log::TopicRecord> records_;
  size_t refused_at_ = 0;  // index of the record of what was refused
  std::vector<std::pair<std::string_view, uint32_t>> reasons_;  // how often
  std::vector<std::string_view> samples_;                       // of refused events
  std::string received_at_;                                     // as JSON, made when needed
  uint32_t accepted_ = 0, rejected_ = 0, repaired_ = 0;
};

/// Whether `json` is one JSON value that the fast parser takes. Any thread.
bool IsPlainJson(std::string_view json);

}  // namespace millrace::gateway
