#include <charconv>

#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

using config::v1::ScriptType;
using config::v1::ScriptVersion;

std::string_view WordOf(ScriptType type) {
  return type == config::v1::LIBRARY ? "library" : "transformation";
}

StatusOr<ScriptRow> RowOf(const Statement& ask) {
  ScriptRow row;
  row.type = static_cast<ScriptType>(ask.Int(0));
  if (!row.script.ParseFromString(ask.Text(1))) {
    return Error(StatusCode::kInternal, "store: a {} cannot be read", WordOf(row.type));
  }
  return row;
}

StatusOr<ScriptVersion> VersionOf(const Statement& ask) {
  ScriptVersion version;
  if (!version.ParseFromString(ask.Text(0))) {
    return MakeStatus(StatusCode::kInternal, "store: a version cannot be read");
  }
  return version;
}

}  // namespace

Status Store::Commit(const StoreChange& change) {
  return InTransaction([&]() -> Status {
    if (change.workspace.has_value()) MR_RETURN_IF_ERROR(PutWorkspace(*change.workspace));
    for (const std::string& id : change.deleted) MR_RETURN_IF_ERROR(Delete(id));
    for (const ScriptRow& row : change.scripts) MR_RETURN_IF_ERROR(PutScript(row));
    for (const ScriptVersionRow& row : change.versions) {
      Statement put(database_->handle(), "INSERT INTO script_versions VALUES (?, ?, ?, ?)");
      MR_RETURN_IF_ERROR(put.Bind(row.version.id())
                             .Bind(row.script_id)
                             .Bind(int64_t{row.version.number()})
                             .BindBlob(row.version.SerializeAsString())
                             .Run());
    }
    for (const std::string& id : change.undone) {
      Statement undo(
          database_->handle(),
          "UPDATE publications SET undone = 1 WHERE sequence = (SELECT max(sequence) FROM "
          "publications WHERE script = ? AND undone = 0)");
      MR_RETURN_IF_ERROR(undo.Bind(id).Run());
    }
    for (const PublicationRow& row : change.publications) {
      Statement put(database_->handle(),
                    "INSERT INTO publications (script, version, at_us) VALUES (?, ?, ?)");
      MR_RETURN_IF_ERROR(put.Bind(row.script_id).Bind(row.version_id).Bind(row.at_us).Run());
    }
    return OkStatus();
  });
}

Status Store::PutScript(const ScriptRow& row) {
  Statement put(database_->handle(),
                "INSERT INTO scripts VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = "
                "excluded.name, import_name = excluded.import_name, body = excluded.body");
  return put.Bind(row.script.id())
      .Bind(int64_t{row.type})
      .Bind(row.script.name())
      .Bind(row.script.import_name())
      .BindBlob(row.script.SerializeAsString())
      .Run();
}

Status Store::Delete(const std::string& script_id) {
  for (const char* sql :
       {"DELETE FROM shadow_samples WHERE version IN (SELECT id FROM script_versions WHERE script "
        "= ?)",
        "DELETE FROM script_logs WHERE script = ?", "DELETE FROM script_totals WHERE script = ?",
        "DELETE FROM publications WHERE script = ?", "DELETE FROM script_versions WHERE script = ?",
        "DELETE FROM scripts WHERE id = ?"}) {
    Statement remove(database_->handle(), sql);
    MR_RETURN_IF_ERROR(remove.Bind(script_id).Run());
  }
  return OkStatus();
}

StatusOr<std::vector<ScriptRow>> Store::Scripts(ScriptType type) {
  MutexLock lock(mu_);
  Statement ask(database_->handle(), "SELECT type, body FROM scripts WHERE type = ? ORDER BY name");
  ask.Bind(int64_t{type});
  std::vector<ScriptRow> rows;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool found, ask.Step());
    if (!found) return rows;
    MR_ASSIGN_OR_RETURN(ScriptRow row, RowOf(ask));
    rows.push_back(std::move(row));
  }
}

StatusOr<ScriptRow> Store::FindScript(ScriptType type, const std::string& id_or_name) {
  MutexLock lock(mu_);
  for (const char* column : {"id", "name", "import_name"}) {
    Statement ask(database_->handle(),
                  fmt::format("SELECT type, body FROM scripts WHERE type = ? AND "
                              "{} = ? AND '' <> ?2",
                              column));
    MR_ASSIGN_OR_RETURN(const bool found, ask.Bind(int64_t{type}).Bind(id_or_name).Step());
    if (found) return RowOf(ask);
  }
  return Error(StatusCode::kNotFound, "there is no {} '{}'", WordOf(type), id_or_name);
}

StatusOr<std::vector<ScriptVersion>> Store::ScriptVersions(const std::string& script_id) {
  MutexLock lock(mu_);
  Statement ask(database_->handle(),
                "SELECT body FROM script_versions WHERE script = ? ORDER BY number DESC");
  ask.Bind(script_id);
  std::vector<ScriptVersion> versions;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool found, ask.Step());
    if (!found) return versions;
    MR_ASSIGN_OR_RETURN(ScriptVersion version, VersionOf(ask));
    versions.push_back(std::move(version));
  }
}

StatusOr<ScriptVersion> Store::FindScriptVersion(const std::string& script_id,
                                                 const std::string& version) {
  MutexLock lock(mu_);
  int64_t number = 0;
  const char* end = version.data() + version.size();
  const auto [rest, error] = std::from_chars(version.data(), end, number);
  const bool by_number = !version.empty() && error == std::errc() && rest == end;
  std::string sql = "SELECT body FROM script_versions WHERE script = ?";
  if (version.empty())
    sql += " ORDER BY number DESC LIMIT 1";
  else
    sql += by_number ? " AND number = ?" : " AND id = ?";
  Statement ask(database_->handle(), sql);
  ask.Bind(script_id);
  if (by_number)
    ask.Bind(number);
  else if (!version.empty())
    ask.Bind(version);
  MR_ASSIGN_OR_RETURN(const bool found, ask.Step());
  if (found) return VersionOf(ask);
  return Error(StatusCode::kNotFound, "there is no version '{}'", version);
}

StatusOr<std::vector<std::string>> Store::Publications(const std::string& script_id) {
  MutexLock lock(mu_);
  Statement ask(
      database_->handle(),
      "SELECT version FROM publications WHERE script = ? AND undone = 0 ORDER BY sequence");
  ask.Bind(script_id);
  std::vector<std::string> versions;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool found, ask.Step());
    if (!found) return versions;
    versions.push_back(ask.Text(0));
  }
}

}  // namespace millrace::control_plane
