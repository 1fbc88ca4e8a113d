// Which store this is, and which configurations came out of it.

#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

// Revisions that are known by their times; older ones are taken for this store's by their number.
constexpr int64_t kRevisionsKept = 1000;

}  // namespace

StatusOr<std::string> Store::Identity() {
  MutexLock lock(mu_);
  return IdentityLocked();
}

StatusOr<std::string> Store::IdentityLocked() {
  Statement ask(database_->handle(), "SELECT id FROM identity");
  MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
  if (!row) return Error(StatusCode::kFailedPrecondition, "store: has no identity");
  return ask.Text(0);
}

Status Store::NoteRevision(const config::v1::Workspace& workspace) {
  const auto revision = static_cast<int64_t>(workspace.revision());
  Statement put(database_->handle(), "INSERT OR IGNORE INTO revisions VALUES (?, ?)");
  MR_RETURN_IF_ERROR(put.Bind(revision).Bind(workspace.updated_at_us()).Run());
  Statement trim(database_->handle(), "DELETE FROM revisions WHERE revision <= ?");
  return trim.Bind(revision - kRevisionsKept).Run();
}

StatusOr<Descent> Store::DescentFrom(const config::v1::HeldConfiguration& held) {
  if (held.revision() == 0) return Descent::kSuccessor;
  const auto revision = static_cast<int64_t>(held.revision());
  MutexLock lock(mu_);
  MR_ASSIGN_OR_RETURN(const std::string identity, IdentityLocked());
  // A configuration without a store's name is of a version that gave none.
  if (held.store_id().empty() || held.store_id() == identity) {
    Statement ask(database_->handle(),
                  "SELECT min(revision), max(revision = ? AND updated_at_us = ?) FROM revisions");
    MR_ASSIGN_OR_RETURN(const bool row, ask.Bind(revision).Bind(held.updated_at_us()).Step());
    if (row && (revision < ask.Int(0) || ask.Int(1) != 0)) return Descent::kSuccessor;
  }
  Statement accepted(database_->handle(), "SELECT until_us FROM accepted_stores WHERE id = ?");
  MR_ASSIGN_OR_RETURN(const bool row, accepted.Bind(held.store_id()).Step());
  const bool may = row && held.updated_at_us() <= accepted.Int(0);
  return may ? Descent::kAccepted : Descent::kForeign;
}

Status Store::AcceptInPlaceOf(const std::string& store_id, int64_t until_us) {
  MutexLock lock(mu_);
  Statement put(database_->handle(), "INSERT OR REPLACE INTO accepted_stores VALUES (?, ?)");
  return put.Bind(store_id).Bind(until_us).Run();
}

}  // namespace millrace::control_plane
