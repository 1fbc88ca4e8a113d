// Dead letters in the store: compressed, and bounded by age, number and bytes.
#include <fmt/format.h>
#include <sqlite3.h>
#include <zlib.h>

#include <algorithm>

#include "services/control-plane/store.h"

namespace millrace::control_plane {
namespace {

constexpr int64_t kPurgedAtOnce = 1000;

std::string Packed(const std::string& plain) {
  uLongf size = compressBound(plain.size());
  std::string packed(size, '\0');
  const int code = compress2(reinterpret_cast<Bytef*>(packed.data()), &size,
                             reinterpret_cast<const Bytef*>(plain.data()), plain.size(), 1);
  MR_CHECK(code == Z_OK);
  packed.resize(size);
  return packed;
}

/// `plain_bytes` 0: it was kept as it is.
std::string Unpacked(std::string body, int64_t plain_bytes) {
  if (plain_bytes == 0) return body;
  std::string plain(static_cast<size_t>(plain_bytes), '\0');
  uLongf size = plain.size();
  const int code = uncompress(reinterpret_cast<Bytef*>(plain.data()), &size,
                              reinterpret_cast<const Bytef*>(body.data()), body.size());
  return code == Z_OK ? plain : std::string();
}

/// Ids are made of positions in the log: of a second log under the same store they get its number.
std::string IdIn(int64_t log_number, const std::string& id) {
  if (log_number <= 1) return id;
  const std::string prefix = fmt::format("log{}.", log_number);
  return id.rfind(prefix, 0) == 0 ? id : prefix + id;
}

}  // namespace

Status Store::AddLetter(const delivery::v1::DeadLetter& given) {
  delivery::v1::DeadLetter letter = given;
  letter.set_id(IdIn(log_number_, given.id()));
  {
    Statement remove(database_->handle(), "DELETE FROM dead_letters WHERE id = ?");
    MR_RETURN_IF_ERROR(remove.Bind(letter.id()).Run());
  }
  const std::string plain = letter.SerializeAsString();
  Statement put(database_->handle(),
                "INSERT INTO dead_letters (id, destination, source, stage, failed_at_us, state, "
                "body, plain_bytes) VALUES (?, ?, ?, ?, ?, 'dead', ?, ?)");
  return put.Bind(letter.id())
      .Bind(letter.destination_id())
      .Bind(letter.source_id())
      .Bind(letter.stage())
      .Bind(letter.failed_at_us())
      .BindBlob(Packed(plain))
      .Bind(static_cast<int64_t>(plain.size()))
      .Run();
}

Status Store::AddDeadLetters(const std::vector<delivery::v1::DeadLetter>& letters,
                             const std::string& topic, int32_t partition, int64_t next_offset) {
  return InTransaction([&]() -> Status {
    for (const auto& letter : letters) {
      if (!letter.redriven()) {
        MR_RETURN_IF_ERROR(AddLetter(letter));
        continue;
      }
      // A letter of an earlier log carries that log's number already.
      Statement mark(database_->handle(),
                     "UPDATE dead_letters SET state = 'redriven' WHERE id IN (?, ?)");
      MR_RETURN_IF_ERROR(mark.Bind(letter.id()).Bind(IdIn(log_number_, letter.id())).Run());
    }
    return SetPosition(topic, partition, next_offset);
  });
}

StatusOr<std::vector<DeadLetterRow>> Store::DeadLetters(const std::string& destination_id,
                                                        const std::vector<std::string>& ids,
                                                        int64_t limit) {
  MutexLock lock(mu_);
  std::string sql = "SELECT body, state, plain_bytes FROM dead_letters WHERE 1 = 1";
  if (!destination_id.empty()) sql += " AND destination = ?";
  if (!ids.empty()) {
    sql += " AND id IN (?";
    for (size_t i = 1; i < ids.size(); ++i) sql += ", ?";
    sql += ")";
  }
  sql += " ORDER BY failed_at_us DESC, id DESC LIMIT ?";
  Statement ask(database_->handle(), sql);
  if (!destination_id.empty()) ask.Bind(destination_id);
  for (const std::string& id : ids) ask.Bind(id);
  ask.Bind(limit);
  std::vector<DeadLetterRow> rows;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
    if (!row) return rows;
    DeadLetterRow& found = rows.emplace_back();
    found.state = ask.Text(1);
    if (!found.letter.ParseFromString(Unpacked(ask.Text(0), ask.Int(2)))) {
      return Error(StatusCode::kInternal, "store: a dead letter cannot be read");
    }
  }
}

StatusOr<std::vector<std::string>> Store::DeadLetterIds(const std::string& destination_id,
                                                        int64_t limit, const std::string& after) {
  MutexLock lock(mu_);
  std::string sql = "SELECT id FROM dead_letters WHERE state = 'dead'";
  if (!destination_id.empty()) sql += " AND destination = ?";
  if (!after.empty()) {
    sql += " AND (failed_at_us, id) > (SELECT failed_at_us, id FROM dead_letters WHERE id = ?)";
  }
  sql += " ORDER BY failed_at_us, id LIMIT ?";
  Statement ask(database_->handle(), sql);
  if (!destination_id.empty()) ask.Bind(destination_id);
  if (!after.empty()) ask.Bind(after);
  ask.Bind(limit);
  std::vector<std::string> ids;
  while (true) {
    MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
    if (!row) return ids;
    ids.push_back(ask.Text(0));
  }
}

/// Deletes the letters whose ids `chosen` selects, and counts them.
StatusOr<int64_t> Store::Purge(const std::string& chosen,
                               const std::function<void(Statement&)>& bind) {
  Statement count(database_->handle(),
                  "INSERT INTO dead_letter_sums SELECT source, destination, 0, 0, count(*) FROM "
                  "dead_letters WHERE id IN (" +
                      chosen +
                      ") GROUP BY source, destination ON CONFLICT DO UPDATE SET purged = purged + "
                      "excluded.purged");
  bind(count);
  MR_RETURN_IF_ERROR(count.Run());
  Statement remove(database_->handle(), "DELETE FROM dead_letters WHERE id IN (" + chosen + ")");
  bind(remove);
  MR_RETURN_IF_ERROR(remove.Run());
  return sqlite3_changes(database_->handle());
}

StatusOr<int64_t> Store::PurgeOld(int64_t before_us) {
  return Purge("SELECT id FROM dead_letters WHERE failed_at_us < ? ORDER BY failed_at_us LIMIT ?",
               [before_us](Statement& sql) { sql.Bind(before_us).Bind(kPurgedAtOnce); });
}

StatusOr<int64_t> Store::PurgeOldestOf(const std::string& source, const std::string& destination,
                                       int64_t count) {
  return Purge(
      "SELECT id FROM dead_letters WHERE source = ? AND destination = ? ORDER BY failed_at_us "
      "LIMIT ?",
      [&](Statement& sql) { sql.Bind(source).Bind(destination).Bind(count); });
}

StatusOr<int64_t> Store::PurgeBeyond(const DeadLetterLimits& limits) {
  Statement most(database_->handle(),
                 "SELECT source, destination, kept - ?1 FROM dead_letter_sums WHERE kept > ?1 "
                 "ORDER BY kept DESC LIMIT 1");
  MR_ASSIGN_OR_RETURN(bool found, most.Bind(limits.max_count).Step());
  if (found) {
    return PurgeOldestOf(most.Text(0), most.Text(1), std::min(most.Int(2), kPurgedAtOnce));
  }
  Statement all(database_->handle(), "SELECT sum(bytes) FROM dead_letter_sums");
  MR_ASSIGN_OR_RETURN(found, all.Step());
  if (!found || all.Int(0) <= limits.max_bytes) return 0;
  Statement largest(database_->handle(),
                    "SELECT source, destination, kept FROM dead_letter_sums ORDER BY bytes DESC "
                    "LIMIT 1");
  MR_ASSIGN_OR_RETURN(found, largest.Step());
  if (!found) return 0;
  // A part at a time, so that no more goes than has to.
  const int64_t part = std::clamp<int64_t>(largest.Int(2) / 16, 1, kPurgedAtOnce);
  return PurgeOldestOf(largest.Text(0), largest.Text(1), part);
}

StatusOr<int64_t> Store::PurgeDeadLetters(const DeadLetterLimits& limits, int64_t now_us) {
  int64_t purged = 0;
  const Status status = InTransaction([&]() -> Status {
    MR_ASSIGN_OR_RETURN(purged, PurgeOld(now_us - limits.max_age_us));
    if (purged > 0) return OkStatus();
    MR_ASSIGN_OR_RETURN(purged, PurgeBeyond(limits));
    return OkStatus();
  });
  if (!status.ok()) return status;
  return purged;
}

StatusOr<DeadLetterSums> Store::SumsOfDeadLetters() {
  MutexLock lock(mu_);
  Statement ask(database_->handle(),
                "SELECT sum(kept), sum(bytes), sum(purged) FROM dead_letter_sums");
  MR_ASSIGN_OR_RETURN(const bool row, ask.Step());
  if (!row) return DeadLetterSums{};
  return DeadLetterSums{.kept = ask.Int(0), .bytes = ask.Int(1), .purged = ask.Int(2)};
}

}  // namespace millrace::control_plane
