#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

namespace millrace::transformation {

/// Who may go next: so many at once to one host, hosts in turn, and at one host its scopes in turn,
/// so that neither a slow host nor a busy workspace holds up the others. One thread.
class FetchQueue {
 public:
  explicit FetchQueue(size_t max_per_host) : max_per_host_(max_per_host) {}

  void Push(const std::string& host, const std::string& scope, uint64_t job);
  /// The next job and its host, which is one busier until Finished.
  std::optional<std::pair<uint64_t, std::string>> Pop();
  void Finished(const std::string& host);

 private:
  struct Host {
    size_t in_flight = 0;
    std::unordered_map<std::string, std::deque<uint64_t>> waiting;  // by scope, none empty
    std::deque<std::string> turn;                                   // the keys of `waiting`
  };

  const size_t max_per_host_;
  std::unordered_map<std::string, Host> hosts_;
  std::deque<std::string> turn_;  // hosts where something waits
};

}  // namespace millrace::transformation
