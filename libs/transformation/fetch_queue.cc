#include "libs/transformation/fetch_queue.h"

namespace millrace::transformation {

void FetchQueue::Push(const std::string& host, const std::string& scope, uint64_t job) {
  Host& entry = hosts_[host];
  if (entry.turn.empty()) turn_.push_back(host);
  std::deque<uint64_t>& jobs = entry.waiting[scope];
  if (jobs.empty()) entry.turn.push_back(scope);
  jobs.push_back(job);
}

std::optional<std::pair<uint64_t, std::string>> FetchQueue::Pop() {
  for (size_t left = turn_.size(); left > 0; --left) {
    std::string name = std::move(turn_.front());
    turn_.pop_front();
    Host& host = hosts_.at(name);
    if (host.in_flight >= max_per_host_) {
      turn_.push_back(std::move(name));
      continue;
    }
    std::string scope = std::move(host.turn.front());
    host.turn.pop_front();
    std::deque<uint64_t>& jobs = host.waiting.at(scope);
    const uint64_t job = jobs.front();
    jobs.pop_front();
    if (jobs.empty()) {
      host.waiting.erase(scope);
    } else {
      host.turn.push_back(std::move(scope));
    }
    ++host.in_flight;
    if (!host.turn.empty()) turn_.push_back(name);
    return std::make_pair(job, std::move(name));
  }
  return std::nullopt;
}

void FetchQueue::Finished(const std::string& host) {
  const auto entry = hosts_.find(host);
  if (--entry->second.in_flight == 0 && entry->second.turn.empty()) hosts_.erase(entry);
}

}  // namespace millrace::transformation
