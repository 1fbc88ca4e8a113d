#include "services/control-plane/store.h"

#include <utility>

#include "libs/base/log.h"

namespace millrace::control_plane {

StatusOr<std::unique_ptr<Store>> Store::Open(const std::string& path) {
  MR_ASSIGN_OR_RETURN(auto database, Database::Open(path));
  return std::unique_ptr<Store>(new Store(std::move(database)));
}

StatusOr<config::v1::Workspace> Store::LoadWorkspace() {
  MutexLock lock(mu_);
  Statement ask(database_->handle(), "SELECT body FROM workspace");
  MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
  config::v1::Workspace workspace;
  if (!row) {
    workspace.set_id("default");
    workspace.set_name("default");
    workspace.set_revision(1);
  } else if (!workspace.ParseFromString(ask.Text(0))) {
    return Error(StatusCode::kFailedPrecondition, "store: the workspace cannot be read");
  }
  MR_ASSIGN_OR_RETURN(*workspace.mutable_store_id(), IdentityLocked());
  // Only the first start of a version that keeps revisions has one to note; a full disk may wait.
  const Status noted = NoteRevision(workspace);
  if (!noted.ok()) log::Warning("{}", Message(noted));
  return workspace;
}

Status Store::SaveWorkspace(const config::v1::Workspace& workspace) {
  return InTransaction([&] { return PutWorkspace(workspace); });
}

Status Store::PutWorkspace(const config::v1::Workspace& workspace) {
  int64_t stored = 1;
  config::v1::Workspace before;
  {
    Statement ask(database_->handle(), "SELECT revision, body FROM workspace");
    MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
    if (row) {
      stored = ask.Int(0);
      (void)before.ParseFromString(ask.Text(1));
    }
  }
  if (workspace.revision() != static_cast<uint64_t>(stored) + 1) {
    return Error(StatusCode::kAborted, "the workspace was changed by someone else; read it again");
  }
  MR_RETURN_IF_ERROR(NoteDeleted(before, workspace));
  MR_RETURN_IF_ERROR(NoteRevision(workspace));
  Statement remove(database_->handle(), "DELETE FROM workspace");
  MR_RETURN_IF_ERROR(remove.Run());
  Statement put(database_->handle(), "INSERT INTO workspace (id, revision, body) VALUES (?, ?, ?)");
  return put.Bind(workspace.id())
      .Bind(static_cast<int64_t>(workspace.revision()))
      .BindBlob(workspace.SerializeAsString())
      .Run();
}

StatusOr<int64_t> Store::Position(const std::string& topic, int32_t partition) {
  MutexLock lock(mu_);
  Statement ask(database_->handle(),
                "SELECT next_offset FROM positions WHERE topic = ? AND partition = ?");
  MR_ASSIGN_OR_RETURN(const bool row, ask.Bind(topic).Bind(int64_t{partition}).Step());
  return row ? ask.Int(0) : 0;
}

Status Store::SetPosition(const std::string& topic, int32_t partition, int64_t next_offset) {
  Statement put(database_->handle(), "INSERT OR REPLACE INTO positions VALUES (?, ?, ?)");
  return put.Bind(topic).Bind(int64_t{partition}).Bind(next_offset).Run();
}

Status Store::AddOne(const accounting::v1::Counters& record) {
  if (!record.topic().empty()) {
    Statement ask(
        database_->handle(),
        "SELECT last_offset FROM counted WHERE stage = ? AND topic = ? AND partition = ?");
    MR_ASSIGN_OR_RETURN(
        const bool row,
        ask.Bind(record.stage()).Bind(record.topic()).Bind(int64_t{record.partition()}).Step());
    if (row && ask.Int(0) >= record.last_offset()) return OkStatus();  // repeated after a restart
    Statement put(database_->handle(), "INSERT OR REPLACE INTO counted VALUES (?, ?, ?, ?)");
    MR_RETURN_IF_ERROR(put.Bind(record.stage())
                           .Bind(record.topic())
                           .Bind(int64_t{record.partition()})
                           .Bind(record.last_offset())
                           .Run());
  }
  for (const auto& count : record.counts()) {
    Statement add(database_->handle(),
                  "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = "
                  "count + excluded.count");
    MR_RETURN_IF_ERROR(add.Bind(record.stage())
                           .Bind(count.source_id())
                           .Bind(count.destination_id())
                           .Bind(int64_t{count.fate()})
                           .Bind(count.reason())
                           .Bind(count.count())
                           .Run());
  }
  return OkStatus();
}

Status Store::AddCounters(const std::vector<accounting::v1::Counters>& records,
                          const std::string& topic, int32_t partition, int64_t next_offset) {
  return InTransaction([&]() -> Status {
    for (const auto& record : records) MR_RETURN_IF_ERROR(AddOne(record));
    return SetPosition(topic, partition, next_offset);
  });
}

StatusOr<std::vector<CountRow>> Store::Counts() {
  MutexLock lock(mu_);
  Statement ask(database_->handle(),
                "SELECT stage, source, destination, fate, reason, count FROM counts");
  std::vector<CountRow> rows;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
    if (!row) return rows;
    rows.push_back({.stage = ask.Text(0),
                    .source_id = ask.Text(1),
                    .destination_id = ask.Text(2),
                    .fate = static_cast<accounting::v1::Fate>(ask.Int(3)),
                    .reason = ask.Text(4),
                    .count = ask.Int(5)});
  }
}

}  // namespace millrace::control_plane
