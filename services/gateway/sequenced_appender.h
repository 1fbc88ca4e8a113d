#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/event_log/event_log.h"

namespace millrace::gateway {

/// Numbers the records of topic `ingest`, for each partition in the order in which the log gets
/// them, so that a reader sees when one is missing (EventMeta.gateway_sequence, which defines the
/// numbers). Numbers of appends that fail are not used again; how many there were stands in the
/// records that follow.
///
/// Thread-safety: all methods may be called from any thread; appends go to the log one at a time,
/// as the order of numbers and records must be the same. `done` must not call Append.
class SequencedAppender final : public event_log::Appender {
 public:
  struct Options {
    std::string gateway;  // name of the instance
    int64_t started_at_us = 0;
    int32_t partitions = 1;  // of topic `ingest`
    /// The log takes the records of one append all or none, and none when it says so
    /// (kResourceExhausted, kInvalidArgument, kNotFound).
    bool whole_appends = false;
  };

  SequencedAppender(std::unique_ptr<event_log::Appender> log, const Options& options);
  ~SequencedAppender() override = default;

  /// Errors: those of the log's appender.
  void Append(std::span<const event_log::TopicRecord> records, event_log::Done done) override;

 private:
  struct Partition {
    uint64_t last = 0;  // number given; under mu_
    std::atomic<uint64_t> refused{0};
    std::atomic<uint64_t> unknown{0};
  };
  void Failed(const std::vector<int32_t>& partitions, StatusCode code);
  size_t Stamp(Partition& partition, char* out) const;

  const bool whole_appends_;
  std::string origin_;  // the fields that are the same in all records, as bytes of EventMeta
  Mutex mu_;
  std::vector<Partition> partitions_;
  std::unique_ptr<event_log::Appender> log_;  // last: its callbacks use the rest
};

}  // namespace millrace::gateway
