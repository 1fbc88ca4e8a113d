#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "libs/base/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace millrace::control_plane {

/// One prepared statement, used once: bind, step, read. Not thread-safe; must not outlive its
/// Database. Errors are kept and given by the next Step().
class Statement {
 public:
  Statement(sqlite3* database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& Bind(std::string_view text);
  Statement& Bind(int64_t value);
  Statement& BindBlob(std::string_view bytes);
  /// True: there is a row. False: done.
  StatusOr<bool> Step();
  /// Steps to the end.
  Status Run();
  int64_t Int(int column) const;
  std::string Text(int column) const;  // also of blobs

 private:
  sqlite3* database_;
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 1;
};

/// An SQLite file with numbered migrations, in write-ahead mode with full syncing. Thread-safe as a
/// handle; whoever needs several statements in one transaction holds a lock of its own.
class Database {
 public:
  /// kFailedPrecondition when the file was made by a newer version.
  static StatusOr<std::unique_ptr<Database>> Open(const std::string& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  sqlite3* handle() { return handle_; }
  Status Execute(const char* sql);

 private:
  Database() = default;
  Status Migrate(const std::string& path);

  sqlite3* handle_ = nullptr;
};

}  // namespace millrace::control_plane
