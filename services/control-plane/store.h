#pragma once

#include <memory>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "millrace/accounting/v1/accounting.pb.h"
#include "millrace/config/v1/workspace.pb.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "services/control-plane/database.h"

namespace millrace::control_plane {

/// A sum of accounting.v1.Count.
struct CountRow {
  std::string stage;
  std::string source_id;
  std::string destination_id;
  accounting::v1::Fate fate{};
  std::string reason;
  int64_t count = 0;
};

struct DeadLetterRow {
  delivery::v1::DeadLetter letter;
  std::string state;  // dead | redriven
};

/// What the control plane keeps: the workspace, the sums of topic `counters` and the dead letters, each
/// with the positions read, so that a record is taken exactly once. Thread-safe.
class Store {
 public:
  static StatusOr<std::unique_ptr<Store>> Open(const std::string& path);

  /// The workspace; an empty one (id "default", revision 1) before the first change.
  StatusOr<config::v1::Workspace> LoadWorkspace();
  /// Replaces it. kAborted when another change came between: `workspace.revision` must be one more than
  /// the stored one.
  Status SaveWorkspace(const config::v1::Workspace& workspace);

  /// Offset to read next, 0 for a partition not read yet.
  StatusOr<int64_t> Position(const std::string& topic, int32_t partition);
  Status AddCounters(const std::vector<accounting::v1::Counters>& records, const std::string& topic,
                     int32_t partition, int64_t next_offset);
  /// A letter with `redriven` set marks the one with its id.
  Status AddDeadLetters(const std::vector<delivery::v1::DeadLetter>& letters,
                        const std::string& topic, int32_t partition, int64_t next_offset);

  StatusOr<std::vector<CountRow>> Counts();
  /// Newest first. Empty `destination_id`: all; empty `ids`: any.
  StatusOr<std::vector<DeadLetterRow>> DeadLetters(const std::string& destination_id,
                                                   const std::vector<std::string>& ids, int64_t limit);
  /// Ids of letters in state `dead`, oldest first. Empty `destination_id`: all.
  StatusOr<std::vector<std::string>> DeadLetterIds(const std::string& destination_id, int64_t limit);

 private:
  explicit Store(std::unique_ptr<Database> database) : database_(std::move(database)) {}
  Status SetPosition(const std::string& topic, int32_t partition, int64_t next_offset);
  Status AddOne(const accounting::v1::Counters& record);
  template <typename Body>
  Status InTransaction(Body body);

  Mutex mu_;
  std::unique_ptr<Database> database_;
};

}  // namespace millrace::control_plane
