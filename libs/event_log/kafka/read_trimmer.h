#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/event_log/kafka/cluster.h"

namespace millrace::event_log::kafka {

/// Frees what all readers of a topic have read, which brokers do not do by themselves: every
/// interval it asks for the committed offsets of the readers and deletes the records before the
/// lowest. Services that watch the same topic do each other's work again, which does no harm.
///
/// Owned by the log; `cluster` outlives it. Thread-safety: all methods may be called from any
/// thread. A cluster that does not answer is asked again after the next interval.
class ReadTrimmer {
 public:
  ReadTrimmer(const Cluster& cluster, std::chrono::milliseconds interval);
  ReadTrimmer(const ReadTrimmer&) = delete;
  ReadTrimmer& operator=(const ReadTrimmer&) = delete;
  ~ReadTrimmer();

  /// In place of what was said of the topic before. Without readers it is left alone.
  void Watch(const std::string& topic, int32_t partitions, const std::vector<std::string>& readers);
  void Forget(const std::string& topic) { Watch(topic, 0, {}); }

 private:
  struct Watched {
    int32_t partitions = 0;
    std::vector<std::string> readers;
    auto operator<=>(const Watched&) const = default;
  };
  using Offsets = std::map<TopicPartition, int64_t>;

  void Run();
  Status Sweep(const std::map<std::string, Watched>& topics);
  /// Lowers `read` to what `group` has committed of the topics that it reads.
  Status Lower(const std::string& group, const std::map<std::string, Watched>& topics,
               Offsets& read);

  const Cluster& cluster_;
  const std::chrono::milliseconds interval_;
  Mutex mu_;
  std::condition_variable wake_;
  std::map<std::string, Watched> topics_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  Offsets trimmed_;  // the thread's own
  std::thread thread_;
};

}  // namespace millrace::event_log::kafka
