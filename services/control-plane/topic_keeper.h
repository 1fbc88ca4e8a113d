#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "libs/base/backoff.h"
#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "libs/event_log/event_log.h"
#include "services/control-plane/log_reader.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

struct TopicKeeperDeps {
  event_log::EventLog& log;
  Clock& clock;
  Store& store;
  LogReader& reader;
  const config::ConfigSource& config;
  /// Makes the topics of a destination, or brings their options up to date.
  std::function<Status(const config::v1::Destination&)> make;
  /// Deletes them, and their records; OK when there are none.
  std::function<Status(const std::string& destination_id)> remove;
};

struct TopicKeeperOptions {
  /// From a destination's deletion until its topics go: services have heard of it by then, and have
  /// counted what they had in hand.
  std::chrono::milliseconds grace{5000};
  /// That a publication waits for topics; what is not made by then is made afterwards.
  std::chrono::milliseconds patience{5000};
  BackoffPolicy backoff{.initial = std::chrono::milliseconds(500),
                        .maximum = std::chrono::milliseconds(30'000)};
};

/// The one owner of the destinations' topics: makes them before a configuration that names the
/// destination is published, and deletes them once the store has noted that it was deleted. Nobody
/// else does either. What fails is logged, tried again and shown; it holds up neither the other
/// destinations nor the publication.
///
/// Owned by the control plane. Any thread may call it; Ensure and Finish wait for the log.
class TopicKeeper {
 public:
  TopicKeeper(TopicKeeperDeps deps, TopicKeeperOptions options)
      : deps_(std::move(deps)), options_(options) {}
  ~TopicKeeper() { Stop(); }
  TopicKeeper(const TopicKeeper&) = delete;
  TopicKeeper& operator=(const TopicKeeper&) = delete;

  /// Makes the topics of destinations that are new to it.
  void Ensure(const config::v1::Workspace& workspace);
  /// Begins to try again and to delete, on a thread of its own.
  void Start();
  void Stop();
  /// What is due by now. The thread does nothing else.
  void RunOnce();
  /// Deletes a deleted destination's topics now and counts what waited; OK when that is done
  /// already. So that a new destination may have its id. kUnavailable: try again.
  Status Finish(const std::string& destination_id);
  /// Why the topics of a destination are not there; "" when they are.
  std::string FaultOf(const std::string& destination_id) const;

 private:
  struct Fault {
    std::string message;
    uint32_t attempts = 0;
    MonotonicTime next_try{};
  };
  using Faults = StringMap<Fault>;  // by destination id

  void MakeMissing(const config::v1::Workspace& workspace) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mu_);
  void DeleteDue(const config::v1::Workspace& workspace);
  Status FinishLocked(const std::string& destination_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(work_mu_);
  bool Due(const Faults& faults, const std::string& destination_id) const;
  /// Notes how an attempt ended; a fault has a log line when it begins and when it ends.
  void Note(const char* what, const std::string& destination_id, const Status& status,
            Faults* faults);

  const TopicKeeperDeps deps_;
  const TopicKeeperOptions options_;
  Mutex work_mu_;  // one at a time makes and deletes
  StringSet made_ ABSL_GUARDED_BY(work_mu_);
  mutable Mutex mu_;
  Faults making_ ABSL_GUARDED_BY(mu_);
  Faults deleting_ ABSL_GUARDED_BY(mu_);
  std::jthread thread_;
};

}  // namespace millrace::control_plane
