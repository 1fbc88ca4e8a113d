#include "libs/event_log/kafka/read_trimmer.h"

#include <algorithm>
#include <limits>
#include <set>

#include "libs/base/log.h"
#include "libs/event_log/kafka/admin.h"

namespace millrace::event_log::kafka {

ReadTrimmer::ReadTrimmer(const Cluster& cluster, std::chrono::milliseconds interval)
    : cluster_(cluster), interval_(interval), thread_([this] { Run(); }) {}

ReadTrimmer::~ReadTrimmer() {
  {
    MutexLock lock(mu_);
    stop_ = true;
    wake_.notify_all();
  }
  thread_.join();
}

void ReadTrimmer::Watch(const std::string& topic, int32_t partitions,
                        const std::vector<std::string>& readers) {
  MutexLock lock(mu_);
  if (readers.empty()) {
    topics_.erase(topic);
  } else {
    topics_[topic] = {partitions, readers};
  }
}

void ReadTrimmer::Run() {
  for (bool failed = false;;) {
    std::map<std::string, Watched> topics;
    {
      MutexLock lock(mu_);
      wake_.wait_for(lock.native(), interval_, [this] { return stop_; });
      if (stop_) return;
      topics = topics_;
    }
    const Status status = Sweep(topics);
    if (!status.ok() && !failed) {
      log::Warning("{}; what was read stays on the brokers for now", Message(status));
    }
    failed = !status.ok();
  }
}

Status ReadTrimmer::Sweep(const std::map<std::string, Watched>& topics) {
  Offsets read;
  std::set<std::string> groups;
  for (const auto& [topic, watched] : topics) {
    groups.insert(watched.readers.begin(), watched.readers.end());
    for (int32_t p = 0; p < watched.partitions; ++p) {
      read[{topic, p}] = std::numeric_limits<int64_t>::max();
    }
  }
  std::erase_if(trimmed_, [&](const auto& one) { return !read.contains(one.first); });
  for (const std::string& group : groups) MR_RETURN_IF_ERROR(Lower(group, topics, read));
  std::vector<CommittedOffset> due;
  for (const auto& [partition, before] : read) {
    if (before > 0 && before != trimmed_[partition]) due.push_back({partition, before, ""});
  }
  if (due.empty()) return OkStatus();
  MR_RETURN_IF_ERROR(DeleteRecords(cluster_, due));
  for (const CommittedOffset& one : due) trimmed_[one.partition] = one.offset;
  return OkStatus();
}

Status ReadTrimmer::Lower(const std::string& group, const std::map<std::string, Watched>& topics,
                          Offsets& read) {
  std::vector<CommittedOffset> wanted;
  for (const auto& [topic, watched] : topics) {
    if (std::ranges::count(watched.readers, group) == 0) continue;
    for (int32_t p = 0; p < watched.partitions; ++p) wanted.push_back({{topic, p}, -1, ""});
  }
  MR_ASSIGN_OR_RETURN(const std::vector<CommittedOffset> committed,
                      GroupOffsets(cluster_, group, wanted, false));
  Offsets said;
  for (const CommittedOffset& one : committed) said[one.partition] = one.offset;
  for (const CommittedOffset& one : wanted) {
    const auto found = said.find(one.partition);
    int64_t& lowest = read[one.partition];
    lowest = std::min(lowest, found == said.end() ? -1 : found->second);
  }
  return OkStatus();
}

}  // namespace millrace::event_log::kafka
