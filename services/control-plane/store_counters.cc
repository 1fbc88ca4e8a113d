// Sums of topic `counters`: snapshots of them, and which log they belong to.
#include "libs/base/ids.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

using accounting::v1::CountersSnapshot;

StatusOr<CountersSnapshot> Store::CountersUpToNow(const std::string& topic) {
  MutexLock lock(mu_);  // sums and positions of one moment
  CountersSnapshot snapshot;
  snapshot.set_id(NewUuid());
  Statement counts(database_->handle(),
                   "SELECT stage, source, destination, fate, reason, count FROM counts");
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, counts.Step());
    if (!row) break;
    auto* one = snapshot.add_counts();
    one->set_stage(counts.Text(0));
    one->mutable_count()->set_source_id(counts.Text(1));
    one->mutable_count()->set_destination_id(counts.Text(2));
    one->mutable_count()->set_fate(static_cast<accounting::v1::Fate>(counts.Int(3)));
    one->mutable_count()->set_reason(counts.Text(4));
    one->mutable_count()->set_count(counts.Int(5));
  }
  Statement positions(database_->handle(),
                      "SELECT partition, next_offset FROM positions WHERE topic = ?");
  positions.Bind(topic);
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, positions.Step());
    if (!row) break;
    auto* covered = snapshot.add_covered();
    covered->set_partition(static_cast<int32_t>(positions.Int(0)));
    covered->set_offset(positions.Int(1));
  }
  Statement counted(database_->handle(),
                    "SELECT stage, topic, partition, last_offset FROM counted");
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, counted.Step());
    if (!row) break;
    auto* one = snapshot.add_counted();
    one->set_stage(counted.Text(0));
    one->set_topic(counted.Text(1));
    one->set_partition(static_cast<int32_t>(counted.Int(2)));
    one->set_offset(counted.Int(3));
  }
  return snapshot;
}

Status Store::ReplaceCounters(const CountersSnapshot& snapshot, const std::string& topic) {
  return InTransaction([&]() -> Status {
    MR_RETURN_IF_ERROR(database_->Execute("DELETE FROM counts; DELETE FROM counted"));
    for (const auto& one : snapshot.counts()) {
      accounting::v1::Counters record;
      record.set_stage(one.stage());
      *record.add_counts() = one.count();
      MR_RETURN_IF_ERROR(AddOne(record));
    }
    for (const auto& one : snapshot.counted()) {
      Statement put(database_->handle(), "INSERT OR REPLACE INTO counted VALUES (?, ?, ?, ?)");
      MR_RETURN_IF_ERROR(put.Bind(one.stage())
                             .Bind(one.topic())
                             .Bind(int64_t{one.partition()})
                             .Bind(one.offset())
                             .Run());
    }
    for (const auto& one : snapshot.covered()) {
      MR_RETURN_IF_ERROR(SetPosition(topic, one.partition(), one.offset()));
    }
    return OkStatus();
  });
}

StatusOr<bool> Store::UseLog(const std::string& id, bool beyond_its_end) {
  bool another = false;
  const Status status = InTransaction([&]() -> Status {
    std::string known;
    {
      Statement ask(database_->handle(), "SELECT id, number FROM log_identity");
      MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
      if (row) {
        known = ask.Text(0);
        log_number_ = ask.Int(1);
      }
    }
    if (known == id) return OkStatus();
    another = !known.empty() || beyond_its_end;
    if (another) {
      ++log_number_;
      MR_RETURN_IF_ERROR(
          database_->Execute("DELETE FROM positions; DELETE FROM counted; DELETE FROM counts"));
    }
    Statement put(database_->handle(), "INSERT OR REPLACE INTO log_identity VALUES (1, ?, ?)");
    return put.Bind(id).Bind(log_number_).Run();
  });
  if (!status.ok()) return status;
  return another;
}

}  // namespace millrace::control_plane
