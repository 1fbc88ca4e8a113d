#include "services/control-plane/database.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <array>

namespace millrace::control_plane {
namespace {

/// Schema changes in order; a file's user_version is the number of those it has. Never edit one
/// that was released: add the next.
constexpr std::array kMigrations = {
    R"sql(
      CREATE TABLE workspace (id TEXT PRIMARY KEY, revision INTEGER NOT NULL, body BLOB NOT NULL);
      CREATE TABLE counts (stage TEXT, source TEXT, destination TEXT, fate INTEGER, reason TEXT,
                           count INTEGER NOT NULL,
                           PRIMARY KEY (stage, source, destination, fate, reason)) WITHOUT ROWID;
      CREATE TABLE positions (topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL,
                              PRIMARY KEY (topic, partition)) WITHOUT ROWID;
      CREATE TABLE counted (stage TEXT, topic TEXT, partition INTEGER, last_offset INTEGER NOT NULL,
                            PRIMARY KEY (stage, topic, partition)) WITHOUT ROWID;
      CREATE TABLE dead_letters (id TEXT PRIMARY KEY, destination TEXT, source TEXT, stage TEXT,
                                 failed_at_us INTEGER, state TEXT NOT NULL, body BLOB NOT NULL);
      CREATE INDEX dead_letters_by_destination ON dead_letters (state, destination, failed_at_us);
    )sql",
    R"sql(
      CREATE TABLE scripts (id TEXT PRIMARY KEY, type INTEGER NOT NULL, name TEXT NOT NULL,
                            import_name TEXT NOT NULL, body BLOB NOT NULL, UNIQUE (type, name));
      CREATE UNIQUE INDEX scripts_by_import_name ON scripts (import_name) WHERE import_name <> '';
      CREATE TABLE script_versions (id TEXT PRIMARY KEY, script TEXT NOT NULL, number INTEGER NOT NULL,
                                    body BLOB NOT NULL, UNIQUE (script, number));
      CREATE TABLE publications (sequence INTEGER PRIMARY KEY AUTOINCREMENT, script TEXT NOT NULL,
                                 version TEXT NOT NULL, at_us INTEGER NOT NULL,
                                 undone INTEGER NOT NULL DEFAULT 0);
      CREATE INDEX publications_by_script ON publications (script, sequence);
      CREATE TABLE script_totals (version TEXT, shadow INTEGER, script TEXT NOT NULL,
                                  events INTEGER NOT NULL, produced INTEGER NOT NULL,
                                  dropped INTEGER NOT NULL, failed INTEGER NOT NULL,
                                  cpu_us INTEGER NOT NULL, logs_left_out INTEGER NOT NULL,
                                  last_at_us INTEGER NOT NULL, compared INTEGER NOT NULL,
                                  equal INTEGER NOT NULL, different INTEGER NOT NULL,
                                  shadow_failed INTEGER NOT NULL,
                                  PRIMARY KEY (version, shadow)) WITHOUT ROWID;
      CREATE TABLE script_logs (sequence INTEGER PRIMARY KEY AUTOINCREMENT, script TEXT NOT NULL,
                                body BLOB NOT NULL);
      CREATE INDEX script_logs_by_script ON script_logs (script, sequence);
      CREATE TABLE shadow_samples (sequence INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT NOT NULL,
                                   body BLOB NOT NULL);
      CREATE INDEX shadow_samples_by_version ON shadow_samples (version, sequence);
    )sql",
    R"sql(
      CREATE TABLE identity (id TEXT NOT NULL);
      INSERT INTO identity VALUES (lower(hex(randomblob(16))));
      CREATE TABLE deleted_destinations (id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
                                         deleted_at_us INTEGER NOT NULL,
                                         settled INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
      CREATE TABLE revisions (revision INTEGER PRIMARY KEY, updated_at_us INTEGER NOT NULL);
      CREATE TABLE accepted_stores (id TEXT PRIMARY KEY, until_us INTEGER NOT NULL) WITHOUT ROWID;
    )sql",
    R"sql(
      CREATE TABLE log_identity (only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL,
                                 number INTEGER NOT NULL);
      ALTER TABLE dead_letters ADD COLUMN plain_bytes INTEGER NOT NULL DEFAULT 0;
      CREATE INDEX dead_letters_by_age ON dead_letters (failed_at_us);
      CREATE INDEX dead_letters_by_owner ON dead_letters (source, destination, failed_at_us);
      CREATE TABLE dead_letter_sums (source TEXT, destination TEXT, kept INTEGER NOT NULL,
                                     bytes INTEGER NOT NULL, purged INTEGER NOT NULL,
                                     PRIMARY KEY (source, destination)) WITHOUT ROWID;
      INSERT INTO dead_letter_sums SELECT source, destination, count(*), sum(length(body)), 0
        FROM dead_letters GROUP BY source, destination;
      CREATE TRIGGER dead_letter_in AFTER INSERT ON dead_letters BEGIN
        INSERT INTO dead_letter_sums VALUES (new.source, new.destination, 1, length(new.body), 0)
          ON CONFLICT DO UPDATE SET kept = kept + 1, bytes = bytes + excluded.bytes;
      END;
      CREATE TRIGGER dead_letter_out AFTER DELETE ON dead_letters BEGIN
        UPDATE dead_letter_sums SET kept = kept - 1, bytes = bytes - length(old.body)
          WHERE source = old.source AND destination = old.destination;
      END;
    )sql",
};

Status SqliteError(sqlite3* database, std::string_view what) {
  const int code = sqlite3_extended_errcode(database) & 0xff;
  if (code == SQLITE_CONSTRAINT) {
    return Error(StatusCode::kAborted,
                 "store: {}: changed by someone else meanwhile; read it again", what);
  }
  const StatusCode status = code == SQLITE_FULL || code == SQLITE_BUSY || code == SQLITE_IOERR
                                ? StatusCode::kUnavailable
                                : StatusCode::kInternal;
  return Error(status, "store: {}: {}", what, sqlite3_errmsg(database));
}

}  // namespace

Statement::Statement(sqlite3* database, std::string_view sql) : database_(database) {
  sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &statement_, nullptr);
}
Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Statement& Statement::Bind(std::string_view text) {
  sqlite3_bind_text64(statement_, next_++, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  return *this;
}
Statement& Statement::Bind(int64_t value) {
  sqlite3_bind_int64(statement_, next_++, value);
  return *this;
}
Statement& Statement::BindBlob(std::string_view bytes) {
  sqlite3_bind_blob64(statement_, next_++, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
  return *this;
}

StatusOr<bool> Statement::Step() {
  if (statement_ == nullptr) return SqliteError(database_, "preparing");
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return SqliteError(database_, "running a statement");
}

Status Statement::Run() {
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) return OkStatus();
  }
}

int64_t Statement::Int(int column) const {
  return sqlite3_column_int64(statement_, column);
}
std::string Statement::Text(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? std::string()
                         : std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path) {
  std::unique_ptr<Database> database(new Database);
  const mode_t before = umask(0077);
  const int code =
      sqlite3_open_v2(path.c_str(), &database->handle_,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  umask(before);
  if (code != SQLITE_OK) {
    return Error(StatusCode::kFailedPrecondition, "opening {}: {}", path,
                 sqlite3_errmsg(database->handle_));
  }
  sqlite3_busy_timeout(database->handle_, 5000);
  MR_RETURN_IF_ERROR(
      database->Execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                        "PRAGMA cache_size=-2000; PRAGMA journal_size_limit=8388608;"));
  MR_RETURN_IF_ERROR(database->Migrate(path));
  return database;
}

Database::~Database() {
  sqlite3_close(handle_);
}

Status Database::Execute(const char* sql) {
  if (sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return OkStatus();
  return SqliteError(handle_, "running a statement");
}

Status Database::Migrate(const std::string& path) {
  int64_t version = 0;
  {
    Statement ask(handle_, "PRAGMA user_version");
    MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
    if (row) version = ask.Int(0);
  }
  if (version > static_cast<int64_t>(kMigrations.size())) {
    return Error(
        StatusCode::kFailedPrecondition,
        "{} was made by a newer version of Millrace (schema {}, this one knows {}); run that "
        "version, or restore a backup from before the upgrade",
        path, version, kMigrations.size());
  }
  for (auto next = static_cast<size_t>(version); next < kMigrations.size(); ++next) {
    const std::string sql = fmt::format("BEGIN IMMEDIATE; {} PRAGMA user_version={}; COMMIT;",
                                        kMigrations[next], next + 1);
    MR_RETURN_IF_ERROR(Annotate(Execute(sql.c_str()), fmt::format("migration {}", next + 1)));
  }
  return OkStatus();
}

}  // namespace millrace::control_plane
