#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "services/processor/partition_stores.h"
#include "services/processor/rocks.h"

namespace rocksdb {
class Snapshot;
}  // namespace rocksdb

namespace millrace::processor {

/// What one key of `store` is to become.
struct StateChange {
  std::optional<std::string> json;  // nothing: deleted
  int64_t ends_us = 0;              // Unix time at which it expires
};

/// Changes by full key (StateKey), of one partition.
using StateChanges = std::map<std::string, StateChange, std::less<>>;

/// The key of a workspace's key in the store of a partition.
std::string StateKey(std::string_view workspace_id, std::string_view key);

/// Values of records of the changelog topic, each far below what a log takes as one record; and
/// back.
std::vector<std::string> PackStateChanges(const StateChanges& changes);
Status UnpackStateChanges(std::string_view packed, StateChanges* changes);

/// The key-value state of transformations in one partition, in RocksDB. What has expired is not
/// seen any more, and leaves with compactions. Reads from any thread, writes from one.
class StateStore final : public ChangelogStore {
 public:
  struct Options {
    std::string folder;
    int64_t longest_s = 0;  // that a value may live
    std::shared_ptr<const StoreMemory> memory;
    bool write_ahead = false;
  };
  static StatusOr<std::unique_ptr<StateStore>> Open(const Options& options);
  ~StateStore() override;

  /// The store as it is at one moment; while it is held, and no longer than the store.
  using Moment = std::shared_ptr<const rocksdb::Snapshot>;
  Moment Now() const;
  /// Nothing when absent; also what has expired, as far as it is still there. `moment` null: as it
  /// is now.
  StatusOr<StateChange> Get(std::string_view full_key, const Moment& moment = nullptr) const;
  Status Apply(const StateChanges& changes, int64_t now_us, int64_t changelog_offset);
  /// Bytes of keys and values of the workspace that have not expired, counted.
  StatusOr<int64_t> Count(std::string_view workspace_id, int64_t now_us) const;

  Status Restore(const event_log::RecordBatch& records, int64_t next) override;
  Rocks& rocks() const override { return *rocks_; }

 private:
  class ExpiryFilter;
  StateStore();

  std::unique_ptr<ExpiryFilter> filter_;  // RocksDB points to it
  std::unique_ptr<Rocks> rocks_;
};

}  // namespace millrace::processor
