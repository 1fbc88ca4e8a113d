#include "services/control-plane/audit.h"

#include <algorithm>

#include "millrace/event/v1/event.pb.h"

namespace millrace::control_plane {
namespace {

using accounting::v1::Fate;

void AddToSource(const CountRow& row, Account* account) {
  switch (row.fate) {
    case Fate::ACCEPTED: account->accepted += row.count; break;
    case Fate::DUPLICATE: account->duplicates += row.count; break;
    case Fate::SOURCE_FILTERED: account->filtered += row.count; break;
    case Fate::SOURCE_DEAD_LETTERED: account->dead_lettered += row.count; break;
    case Fate::REDRIVEN:  // is in ACCEPTED a second time
      account->accepted -= row.count;
      account->dead_lettered -= row.count;
      break;
    default: break;
  }
}

void AddToConnection(const CountRow& row, Account* account) {
  switch (row.fate) {
    case Fate::ROUTED: account->pending += row.count; break;
    case Fate::FILTERED:
      account->filtered += row.count;
      if (row.stage != "processor") account->pending -= row.count;
      break;
    case Fate::DROPPED: account->dropped += row.count; break;
    case Fate::DEAD_LETTERED:
      account->dead_lettered += row.count;
      if (row.stage != "processor") account->pending -= row.count;
      break;
    case Fate::DELIVERED:
      account->delivered += row.count;
      account->pending -= row.count;
      break;
    case Fate::REDRIVEN:
      account->dead_lettered -= row.count;
      account->pending += row.count;
      break;
    default: break;
  }
}

}  // namespace

Audit MakeAudit(const std::vector<CountRow>& counts,
                const std::map<std::string, int64_t>& pending_by_source) {
  Audit audit;
  for (const CountRow& row : counts) {
    if (row.destination_id.empty()) AddToSource(row, &audit.sources[row.source_id]);
    else AddToConnection(row, &audit.connections[{row.source_id, row.destination_id}]);
  }
  for (const auto& [source, pending] : pending_by_source) {
    audit.sources[source].accepted += pending;
    audit.sources[source].pending += pending;
  }
  // What left a source's own account went to each of its connections that existed by then.
  for (auto& [source, account] : audit.sources) account.delivered = account.Residual();
  for (auto& [ids, account] : audit.connections) {
    account.accepted = account.filtered + account.dropped + account.dead_lettered +
                       account.delivered + account.pending;
  }
  return audit;
}

Status CompareWithLog(event_log::EventLog& log, const std::vector<CountRow>& counts, int64_t limit,
                      Audit* audit) {
  const std::string topic(event_log::kIngestTopic);
  MR_ASSIGN_OR_RETURN(const auto committed, log.Committed("processor", topic));
  MR_ASSIGN_OR_RETURN(const auto infos, log.Describe(topic));
  std::map<int32_t, int64_t> ends;
  std::map<std::string, int64_t> pending;
  std::vector<event_log::CommittedOffset> positions;
  int64_t read = 0;
  for (const auto& info : infos) {
    ends[info.partition] = info.end_offset;
    audit->ingest_records += info.end_offset;
    int64_t next = 0;
    for (const auto& offset : committed) {
      if (offset.partition.partition == info.partition) next = std::max<int64_t>(0, offset.offset);
    }
    read += next;
    audit->ingest_lag += info.end_offset - next;
    if (info.end_offset > next) {
      positions.push_back({.partition = {topic, info.partition}, .offset = next});
    }
  }
  if (!positions.empty()) {
    MR_ASSIGN_OR_RETURN(const auto consumer, log.NewConsumer({}));
    MR_RETURN_IF_ERROR(consumer->Assign(positions));
    const int64_t wanted = std::min(limit, audit->ingest_lag);
    for (int64_t seen = 0, idle = 0; seen < wanted && idle < 3;) {
      MR_ASSIGN_OR_RETURN(const auto batch, consumer->Poll({.timeout = std::chrono::milliseconds(200)}));
      idle = batch.records.empty() ? idle + 1 : 0;
      for (const auto& record : batch.records) {
        if (record.offset >= ends[batch.source_of(record).partition]) continue;
        event::v1::EventMeta meta;
        (void)meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()));
        ++pending[meta.source_id()];
        ++seen;
      }
    }
  }
  int64_t counted = 0;
  for (const CountRow& row : counts) {
    if (row.fate == Fate::ACCEPTED) counted += row.count;
  }
  const Audit sums = MakeAudit(counts, pending);
  audit->sources = sums.sources;
  audit->connections = sums.connections;
  audit->unexplained = read - counted;
  return OkStatus();
}

}  // namespace millrace::control_plane
