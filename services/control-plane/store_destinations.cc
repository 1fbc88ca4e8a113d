// What the store knows of destinations beyond the workspace: those that are gone, and what waits.

#include <utility>

#include "libs/pipeline/topology.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

// By source and destination, what the counters say is in the destination's topic. What the
// processor itself finished never came there.
constexpr char kQueued[] =
    "sum(CASE WHEN fate IN (3, 8) THEN count"                                // routed, redriven
    " WHEN stage <> 'processor' AND fate IN (4, 5, 6, 7) THEN -count END)";  // finished
static_assert(accounting::v1::ROUTED == 3 && accounting::v1::REDRIVEN == 8);
static_assert(accounting::v1::FILTERED == 4 && accounting::v1::DROPPED == 5 &&
              accounting::v1::DEAD_LETTERED == 6 && accounting::v1::DELIVERED == 7);

constexpr char kStage[] = "control-plane";
constexpr char kReason[] = "destination_deleted";

}  // namespace

StatusOr<std::vector<DeletedDestination>> Store::DeletedDestinations() {
  MutexLock lock(mu_);
  Statement ask(database_->handle(),
                "SELECT id, name, type, deleted_at_us, settled FROM deleted_destinations");
  std::vector<DeletedDestination> rows;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
    if (!row) return rows;
    rows.push_back({.id = ask.Text(0),
                    .name = ask.Text(1),
                    .type = ask.Text(2),
                    .deleted_at_us = ask.Int(3),
                    .settled = ask.Int(4) != 0});
  }
}

Status Store::AddDeleted(const DeletedDestination& destination) {
  MutexLock lock(mu_);
  Statement put(database_->handle(),
                "INSERT OR IGNORE INTO deleted_destinations VALUES (?, ?, ?, ?, 0)");
  return put.Bind(destination.id)
      .Bind(destination.name)
      .Bind(destination.type)
      .Bind(destination.deleted_at_us)
      .Run();
}

StatusOr<StringMap<int64_t>> Store::Waiting() {
  MutexLock lock(mu_);
  Statement ask(database_->handle(), fmt::format("SELECT destination, {} FROM counts WHERE "
                                                 "destination <> '' GROUP BY destination",
                                                 kQueued));
  StringMap<int64_t> waiting;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
    if (!row) return waiting;
    waiting[ask.Text(0)] = ask.Int(1);
  }
}

Status Store::SettleDeleted(const std::string& destination_id, bool all_read) {
  return InTransaction([&]() -> Status {
    Statement ask(database_->handle(), "SELECT settled FROM deleted_destinations WHERE id = ?");
    MR_ASSIGN_OR_RETURN(const bool row, ask.Bind(destination_id).Step());
    if (!row) {
      return Error(StatusCode::kNotFound, "destination '{}' is not a deleted one", destination_id);
    }
    if (ask.Int(0) != 0) return OkStatus();
    // Counts that came late are taken off what was counted too much; else fewer than none would
    // wait only by an error, which must show.
    Statement count(
        database_->handle(),
        fmt::format(
            "INSERT INTO counts SELECT ?, source, destination, ?, ?, queued FROM (SELECT "
            "source, destination, {} AS queued, max(reason = '{}') AS again FROM counts "
            "WHERE destination = ? GROUP BY source) WHERE queued > 0 OR (again AND queued < "
            "0) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            kQueued, kReason));
    MR_RETURN_IF_ERROR(count.Bind(kStage)
                           .Bind(int64_t{accounting::v1::DEAD_LETTERED})
                           .Bind(kReason)
                           .Bind(destination_id)
                           .Run());
    if (!all_read) return OkStatus();
    // A new topic of that name begins at 0 again.
    Statement forget(database_->handle(), "DELETE FROM counted WHERE topic IN (?, ?)");
    MR_RETURN_IF_ERROR(forget.Bind(event_log::DestinationTopic(destination_id))
                           .Bind(pipeline::ParkingTopic(destination_id))
                           .Run());
    Statement settle(database_->handle(),
                     "UPDATE deleted_destinations SET settled = 1 WHERE id = ?");
    MR_RETURN_IF_ERROR(settle.Bind(destination_id).Run());
    return ForgetOldest();
  });
}

Status Store::ForgetOldest() {
  const std::string oldest = fmt::format(
      "(SELECT id FROM deleted_destinations WHERE settled ORDER BY deleted_at_us DESC, id LIMIT -1 "
      "OFFSET {})",
      kDeletedKept);
  Statement counts(database_->handle(), "DELETE FROM counts WHERE destination IN " + oldest);
  MR_RETURN_IF_ERROR(counts.Run());
  Statement rows(database_->handle(), "DELETE FROM deleted_destinations WHERE id IN " + oldest);
  return rows.Run();
}

Status Store::NoteDeleted(const config::v1::Workspace& before, const config::v1::Workspace& after) {
  StringSet there;
  for (const auto& destination : after.destinations()) {
    there.insert(destination.id());
    Statement back(database_->handle(), "DELETE FROM deleted_destinations WHERE id = ?");
    MR_RETURN_IF_ERROR(back.Bind(destination.id()).Run());
  }
  for (const auto& destination : before.destinations()) {
    if (there.contains(destination.id())) continue;
    Statement put(database_->handle(),
                  "INSERT OR REPLACE INTO deleted_destinations VALUES (?, ?, ?, ?, 0)");
    MR_RETURN_IF_ERROR(put.Bind(destination.id())
                           .Bind(destination.name())
                           .Bind(destination.type())
                           .Bind(after.updated_at_us())
                           .Run());
  }
  return OkStatus();
}

}  // namespace millrace::control_plane
