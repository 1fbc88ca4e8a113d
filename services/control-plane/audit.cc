#include "services/control-plane/audit.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "libs/event_log/offset_tracker.h"
#include "libs/pipeline/topology.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::control_plane {
namespace {

using accounting::v1::Fate;

// Polls without a record before a topic is taken as read: transactions leave marks that are no
// records.
constexpr int kIdlePolls = 3;
constexpr std::chrono::milliseconds kPollWait{200};

void AddToSource(const CountRow& row, Account* account) {
  switch (row.fate) {
    case Fate::ACCEPTED:
      account->accepted += row.count;
      break;
    case Fate::DUPLICATE:
      account->duplicates += row.count;
      break;
    case Fate::SOURCE_FILTERED:
      account->filtered += row.count;
      break;
    case Fate::SOURCE_DEAD_LETTERED:
      account->dead_lettered += row.count;
      break;
    case Fate::PASSED_ON:
      account->passed_on += row.count;
      break;
    case Fate::PRODUCED:
      account->produced += row.count;
      break;
    case Fate::DROPPED:
      account->dropped += row.count;
      break;
    case Fate::RETURNED:
      account->accepted -= row.count;
      break;
    case Fate::REDRIVEN:  // is in ACCEPTED a second time
      account->accepted -= row.count;
      account->dead_lettered -= row.count;
      break;
    default:
      break;
  }
}

/// `queued`: what the counters say is in the destination's topic.
void AddToConnection(const CountRow& row, Account* account, int64_t* queued) {
  const bool from_topic =
      row.stage != "processor";  // else it never came to the destination's topic
  switch (row.fate) {
    case Fate::PASSED_ON:
      account->accepted += row.count;
      break;
    case Fate::ROUTED:
      *queued += row.count;
      break;
    case Fate::FILTERED:
      account->filtered += row.count;
      if (from_topic) *queued -= row.count;
      break;
    case Fate::DROPPED:
      account->dropped += row.count;
      if (from_topic) *queued -= row.count;
      break;
    case Fate::DEAD_LETTERED:
      account->dead_lettered += row.count;
      if (from_topic) *queued -= row.count;
      break;
    case Fate::DELIVERED:
      account->delivered += row.count;
      *queued -= row.count;
      break;
    case Fate::PRODUCED:
      account->produced += row.count;
      break;
    case Fate::REDRIVEN_TO_CHAIN:
      account->dead_lettered -= row.count;
      break;
    case Fate::REDRIVEN:
      account->dead_lettered -= row.count;
      *queued += row.count;
      break;
    default:
      break;
  }
}

/// The destination whose events a topic holds.
std::optional<std::string> OwnerOf(std::string_view topic) {
  const auto destination = pipeline::DestinationOf(topic);
  return destination ? destination : pipeline::ParkedDestinationOf(topic);
}

/// Whom a record of `topic` belongs to, added to `pending`.
void AddPending(std::string_view topic, const event_log::ConsumedRecord& record,
                PendingInLog* pending) {
  const int size = static_cast<int>(record.meta.size());
  if (topic == event_log::kIngestTopic) {
    event::v1::EventMeta meta;
    (void)meta.ParseFromArray(record.meta.data(), size);
    const std::string& redriven_to = meta.redrive().destination_id();
    if (redriven_to.empty())
      ++pending->sources[meta.source_id()];
    else
      ++pending->redriven[{meta.source_id(), redriven_to}];
    return;
  }
  delivery::v1::DeliveryMeta meta;
  (void)meta.ParseFromArray(record.meta.data(), size);
  ++pending->connections[{meta.source_id(), *OwnerOf(topic)}];
}

/// Reads `partitions` from their positions to their ends.
Status ReadPending(event_log::EventLog& log, const LogPositions& partitions,
                   PendingInLog* pending) {
  std::vector<event_log::CommittedOffset> starts;
  std::map<event_log::TopicPartition, event_log::OffsetTracker> done;
  std::set<event_log::TopicPartition> open;
  for (const auto& [partition, position] : partitions) {
    starts.push_back({.partition = partition, .offset = position.next});
    done.emplace(partition, event_log::OffsetTracker(position.next, position.metadata));
    open.insert(partition);
  }
  if (starts.empty()) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto consumer, log.NewConsumer({}));
  MR_RETURN_IF_ERROR(consumer->Assign(starts));
  for (int idle = 0; !open.empty() && idle < kIdlePolls;) {
    MR_ASSIGN_OR_RETURN(const auto batch, consumer->Poll({.timeout = kPollWait}));
    idle = batch.records.empty() ? idle + 1 : 0;
    for (const auto& record : batch.records) {
      const auto& partition = batch.source_of(record);
      const int64_t end = partitions.at(partition).end;
      if (record.offset + 1 >= end) open.erase(partition);
      if (record.offset >= end) continue;
      bool finished = false;
      auto& tracker = done.at(partition);
      const uint64_t ticket = tracker.Add(record.offset, &finished);
      if (finished) continue;
      tracker.Finish(ticket);
      AddPending(partition.topic, record, pending);
    }
  }
  return OkStatus();
}

/// The topic's positions by the group that reads it, the farther one if there are several.
Status AddPositions(event_log::EventLog& log, const std::string& topic,
                    const std::vector<std::string>& groups, LogPositions* positions) {
  const auto infos = log.Describe(topic);
  if (infos.status().code() == StatusCode::kNotFound) return OkStatus();
  MR_RETURN_IF_ERROR(infos.status());
  for (const auto& info : *infos) {
    (*positions)[{topic, info.partition}] = {
        .next = info.begin_offset, .metadata = {}, .end = info.end_offset};
  }
  for (const std::string& group : groups) {
    MR_ASSIGN_OR_RETURN(const auto committed, log.Committed(group, topic));
    for (const auto& offset : committed) {
      const auto found = positions->find(offset.partition);
      if (found == positions->end() || offset.offset < found->second.next) continue;
      found->second.next = offset.offset;
      found->second.metadata = offset.metadata;
    }
  }
  return OkStatus();
}

}  // namespace

int64_t Audit::Residual() const {
  if (unexplained != 0) return unexplained;
  int64_t sum = lost_records;
  for (const auto& [source, account] : sources) sum += std::abs(account.Residual());
  for (const auto& [ids, account] : connections) sum += std::abs(account.Residual());
  for (const auto& [destination, events] : missing) sum += std::abs(events);
  return sum;
}

Audit MakeAudit(const std::vector<CountRow>& counts, const PendingInLog& pending) {
  Audit audit;
  std::map<ConnectionIds, int64_t> queued;
  for (const CountRow& row : counts) {
    if (row.destination_id.empty()) {
      AddToSource(row, &audit.sources[row.source_id]);
    } else {
      const ConnectionIds ids{row.source_id, row.destination_id};
      AddToConnection(row, &audit.connections[ids], &queued[ids]);
    }
  }
  for (const auto& [source, count] : pending.sources) {
    audit.sources[source].accepted += count;
    audit.sources[source].pending += count;
  }
  for (auto& [ids, account] : audit.connections) {
    if (!pending.destinations.contains(ids.second)) account.pending = queued[ids];
  }
  for (const auto& [ids, count] : pending.connections) {
    if (pending.destinations.contains(ids.second)) audit.connections[ids].pending = count;
  }
  for (const auto& [ids, count] : pending.redriven) audit.connections[ids].pending += count;
  return audit;
}

StatusOr<LogPositions> ReadPositions(event_log::EventLog& log) {
  LogPositions positions;
  MR_RETURN_IF_ERROR(AddPositions(log, std::string(event_log::kIngestTopic),
                                  {std::string(pipeline::kProcessorGroup)}, &positions));
  MR_ASSIGN_OR_RETURN(const auto topics, log.ListTopics());
  for (const std::string& topic : topics) {
    if (!OwnerOf(topic)) continue;
    MR_RETURN_IF_ERROR(AddPositions(
        log, topic, {std::string(pipeline::kRouterGroup), std::string(pipeline::kLoaderGroup)},
        &positions));
  }
  return positions;
}

namespace {

/// What the log has for one reader: records not done with, and where they are.
struct Backlog {
  int64_t records = 0;
  LogPositions partitions;
};

/// By destination; that of `ingest` is "".
std::map<std::string, Backlog> BacklogsOf(const LogPositions& positions) {
  std::map<std::string, Backlog> backlogs;
  for (const auto& [partition, position] : positions) {
    Backlog& backlog = backlogs[OwnerOf(partition.topic).value_or("")];
    const event_log::OffsetTracker done(position.next, position.metadata);
    backlog.records += std::max<int64_t>(0, position.end - position.next - done.FinishedBeyond());
    backlog.partitions[partition] = position;
  }
  return backlogs;
}

/// The backlogs that are read one by one, at most `limit` records in all.
LogPositions ToRead(const std::map<std::string, Backlog>& backlogs, int64_t limit,
                    std::set<std::string>* destinations) {
  std::vector<std::pair<int64_t, std::string>> by_size;
  for (const auto& [owner, backlog] : backlogs) by_size.emplace_back(backlog.records, owner);
  std::ranges::sort(by_size);
  LogPositions unread;
  for (const auto& [records, owner] : by_size) {
    if (records > limit) break;
    limit -= records;
    if (!owner.empty()) destinations->insert(owner);
    for (const auto& [partition, position] : backlogs.at(owner).partitions) {
      if (position.end > position.next) unread[partition] = position;
    }
  }
  return unread;
}

/// By destination: what waits by the counters.
std::map<std::string, int64_t> WaitingBy(const std::vector<CountRow>& counts) {
  std::map<std::string, int64_t> waiting;
  for (const CountRow& row : counts) {
    Account unused;
    if (!row.destination_id.empty()) AddToConnection(row, &unused, &waiting[row.destination_id]);
  }
  return waiting;
}

}  // namespace

StatusOr<Audit> CompareWithLog(event_log::EventLog& log, const LogPositions& positions,
                               const std::vector<CountRow>& counts, int64_t limit, bool dense) {
  const auto backlogs = BacklogsOf(positions);
  PendingInLog pending;
  const LogPositions unread = ToRead(backlogs, limit, &pending.destinations);
  MR_RETURN_IF_ERROR(ReadPending(log, unread, &pending));
  Audit audit = MakeAudit(counts, pending);
  int64_t read = 0, counted = 0;
  for (const auto& [partition, position] : positions) {
    if (OwnerOf(partition.topic)) continue;
    read += position.next;
    audit.ingest_records += position.end;
    const int64_t lag = std::max<int64_t>(0, position.end - position.next);
    audit.ingest_lag += lag;
    if (!unread.contains(partition)) audit.ingest_unlisted += lag;
  }
  for (const CountRow& row : counts) {
    if (row.fate == Fate::ACCEPTED) counted += row.count;
    if (row.fate == Fate::BEYOND_RECORD) counted -= row.count;
    if (row.fate == Fate::LOST_RECORD) audit.lost_records += row.count;
  }
  audit.unexplained = read - counted;
  if (!dense) return audit;
  for (const auto& [destination, waiting] : WaitingBy(counts)) {
    if (pending.destinations.contains(destination)) continue;
    const auto found = backlogs.find(destination);
    const int64_t there = found == backlogs.end() ? 0 : found->second.records;
    if (waiting != there) audit.missing[destination] = waiting - there;
  }
  return audit;
}

}  // namespace millrace::control_plane
