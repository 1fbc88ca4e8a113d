#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/container/flat_hash_map.h"

namespace millrace::router {

/// Which users of one partition have events in the parking topic, and how many. It keeps no names:
/// of two users with the same hash each waits for the other, no more.
///
/// A parked user's events that fail go to the end of the topic, and all that stand between must
/// follow them before a newer event may: until then the user *moves*. A value; one thread.
class ParkedUsers {
 public:
  static uint64_t HashOf(std::string_view user) { return std::hash<std::string_view>{}(user); }

  bool Contains(uint64_t user) const { return users_.contains(user); }
  /// While it moves nothing of it may be appended but what is read.
  bool Moves(uint64_t user) const {
    const auto it = users_.find(user);
    return it != users_.end() && it->second.to_pass > 0;
  }
  /// Its events that are in the topic and were not read yet.
  uint32_t Unread(uint64_t user) const {
    const auto it = users_.find(user);
    return it == users_.end() ? 0 : it->second.unread;
  }

  /// An event of `user` is appended to the topic; `read`: it is in memory at once.
  void OnAppended(uint64_t user, bool read = false) {
    User& entry = users_[user];
    ++entry.events;
    ++events_;
    if (read) return;
    ++entry.unread;
    ++unread_;
  }
  /// An event was read. True: its user moves, it has to follow.
  bool OnRead(uint64_t user) {
    const auto it = users_.find(user);
    if (it == users_.end() || it->second.unread == 0) return false;
    --it->second.unread;
    --unread_;
    if (it->second.to_pass == 0) return false;
    --it->second.to_pass;
    return true;
  }
  /// An event that was read is done, or was appended again.
  void OnGone(uint64_t user) {
    const auto it = users_.find(user);
    if (it == users_.end()) return;
    --events_;
    if (--it->second.events == 0) users_.erase(it);
  }
  /// The next `events` of it have to follow those appended last.
  void Move(uint64_t user, uint32_t events) {
    if (events > 0) users_[user].to_pass = events;
  }
  /// An event that was read has followed.
  void OnPassed(uint64_t user) {
    const auto it = users_.find(user);
    if (it != users_.end() && it->second.to_pass > 0) --it->second.to_pass;
  }
  void Clear() { *this = {}; }

  size_t users() const { return users_.size(); }
  size_t events() const { return events_; }
  size_t unread() const { return unread_; }

 private:
  struct User {
    uint32_t events = 0;
    uint32_t unread = 0;
    uint32_t to_pass = 0;
  };
  absl::flat_hash_map<uint64_t, User> users_;
  size_t events_ = 0;
  size_t unread_ = 0;
};

}  // namespace millrace::router
