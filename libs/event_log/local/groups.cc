#include "libs/event_log/local/groups.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "libs/event_log/local/consumer.h"

namespace millrace::event_log::local {

Group& Groups::Named(const std::string& name) {
  std::unique_ptr<Group>& group = groups_[name];
  if (group == nullptr) {
    group = std::make_unique<Group>();
    group->name = name;
  }
  return *group;
}

Commit Groups::Committed(const Group& group, PartitionKey key) {
  const auto found = group.committed.find(key);
  return found == group.committed.end() ? Commit{} : found->second;
}

Commit Groups::Committed(const std::string& group, PartitionKey key) const {
  const auto found = groups_.find(group);
  return found == groups_.end() ? Commit{} : Committed(*found->second, key);
}

void Groups::SetCommitted(const std::string& group, PartitionKey key, Commit commit) {
  Named(group).committed[key] = std::move(commit);
}

int64_t Groups::ReadByAll(const std::vector<std::string>& readers, PartitionKey key) const {
  int64_t read = std::numeric_limits<int64_t>::max();
  for (const std::string& reader : readers) {
    const auto group = groups_.find(reader);
    if (group == groups_.end()) return -1;
    const auto found = group->second->committed.find(key);
    if (found == group->second->committed.end()) return -1;
    read = std::min(read, found->second.offset);
  }
  return read;
}

void Groups::ForgetTopic(uint32_t topic_id) {
  for (const auto& [name, group] : groups_) {
    std::erase_if(group->committed, [&](const auto& c) { return c.first.first == topic_id; });
  }
}

std::set<std::string> Groups::TopicsOf(const Group& group) {
  std::set<std::string> names;
  for (const LocalConsumer* member : group.members) {
    names.insert(member->topics().begin(), member->topics().end());
  }
  return names;
}

void Groups::Deal(Group& group, const std::map<std::string, std::shared_ptr<Topic>>& topics) {
  std::ranges::stable_sort(group.members, {}, [](const LocalConsumer* m) { return m->instance(); });
  std::map<LocalConsumer*, std::set<PartitionKey>> targets;
  for (LocalConsumer* member : group.members) targets[member];
  for (const auto& [name, topic] : topics) {
    std::vector<LocalConsumer*> readers;
    for (LocalConsumer* member : group.members) {
      if (std::ranges::count(member->topics(), name) > 0) readers.push_back(member);
    }
    const size_t partitions = topic->partitions.size();
    const size_t members = readers.size();
    for (size_t p = 0, m = 0; m < members; ++m) {
      const size_t share = partitions / members + (m < partitions % members ? 1 : 0);
      for (size_t i = 0; i < share; ++i, ++p) {
        targets[readers[m]].insert({topic->id, static_cast<int32_t>(p)});
      }
    }
  }
  for (auto& [member, target] : targets) member->SetTarget(std::move(target));
}

}  // namespace millrace::event_log::local
