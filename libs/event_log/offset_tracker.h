#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::event_log {

/// Says up to where a partition is done when its records finish out of order, and which records
/// beyond that point are done too, so that a restart does not send them again.
///
/// Its memory grows with the unfinished records only. A value of one partition; one thread.
class OffsetTracker {
 public:
  /// Metadata never grows beyond this (the log takes 4,000 bytes).
  static constexpr size_t kMaxMetadataBytes = 3'500;

  /// `committed`: the group's offset, -1 for none; `metadata` as Metadata() gave it; what the
  /// committer put behind a ';' is its own. Metadata that is not understood is ignored: those
  /// records are then sent again.
  OffsetTracker(int64_t committed, std::string_view metadata);

  /// Takes the next record in; offsets grow. Returns its ticket. A record that was finished before
  /// the restart is finished at once: *done says so.
  uint64_t Add(int64_t offset, bool* done);
  void Finish(uint64_t ticket);
  /// Whether the record was finished before the restart.
  bool WasFinished(int64_t offset) const;

  /// Offset to commit: the lowest unfinished record, or the one after the last.
  int64_t committed() const;
  /// The finished records from committed() on, as text. What does not fit is left out at the end.
  std::string Metadata() const;
  /// False when the metadata might soon not hold all: no more records should be added.
  bool RoomForMore() const;
  /// Of the records from the committed offset on, those that were finished before the restart.
  int64_t FinishedBeyond() const;
  size_t unfinished() const { return unfinished_.size(); }
  /// False when no commit is due: nothing changed since MarkCommitted.
  bool changed() const { return changed_; }
  void MarkCommitted() { changed_ = false; }

 private:
  std::string Encode() const;
  std::vector<std::pair<int64_t, int64_t>> Finished() const;  // beyond committed(), [from, to)

  // By offset; the value is where the next record begins, as the log leaves some offsets out.
  std::map<int64_t, int64_t> unfinished_;
  int64_t next_ = -1;  // the offset after the last record added
  bool changed_ = false;
  std::vector<std::pair<int64_t, int64_t>> restored_;  // finished before the restart, [from, to)
};

}  // namespace millrace::event_log
