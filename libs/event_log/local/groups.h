#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "libs/event_log/local/state.h"

namespace millrace::event_log::local {

/// The consumer groups of a log: their members, who of them owns which partition, and what was
/// committed.
///
/// Owned by the log; all is done with the log's mutex held.
class Groups {
 public:
  /// The group of that name, made when there is none.
  Group& Named(const std::string& name);
  /// Offset -1: nothing.
  Commit Committed(const std::string& group, PartitionKey key) const;
  static Commit Committed(const Group& group, PartitionKey key);
  void SetCommitted(const std::string& group, PartitionKey key, Commit commit);
  /// The offset before which all of `readers` have read; -1 when one of them has not begun.
  int64_t ReadByAll(const std::vector<std::string>& readers, PartitionKey key) const;

  /// Drops what was committed of a topic that is gone.
  void ForgetTopic(uint32_t topic_id);
  /// Drops what `gone(group, key, commit)` says of groups without members, and groups of which
  /// nothing is left.
  template <typename Gone>
  void ForgetWhere(Gone gone) {
    for (const auto& [name, group] : groups_) {
      if (!group->members.empty()) continue;
      std::erase_if(group->committed, [&, &of = name](const auto& commit) {
        return gone(of, commit.first, commit.second);
      });
    }
    std::erase_if(groups_, [](const auto& group) {
      return group.second->members.empty() && group.second->committed.empty();
    });
  }
  /// All of them; during recovery, when there are no members.
  void Clear() { groups_.clear(); }

  /// Calls `visit(group, key, commit)` for all that was committed.
  template <typename Visit>
  void ForEachCommit(Visit visit) const {
    for (const auto& [name, group] : groups_) {
      for (const auto& [key, commit] : group->committed) visit(name, key, commit);
    }
  }

  /// Deals the partitions of the topics that members subscribe to out among them anew, by range,
  /// and tells them. `find(name)` is the topic or null.
  template <typename Find>
  void Reassign(Group& group, Find find) {
    std::map<std::string, std::shared_ptr<Topic>> topics;
    for (const std::string& name : TopicsOf(group)) {
      if (std::shared_ptr<Topic> topic = find(name)) topics.emplace(name, std::move(topic));
    }
    Deal(group, topics);
  }
  template <typename Find>
  void ReassignAll(Find find) {
    for (const auto& [name, group] : groups_) Reassign(*group, find);
  }

 private:
  static std::set<std::string> TopicsOf(const Group& group);
  static void Deal(Group& group, const std::map<std::string, std::shared_ptr<Topic>>& topics);

  std::map<std::string, std::unique_ptr<Group>> groups_;
};

}  // namespace millrace::event_log::local
