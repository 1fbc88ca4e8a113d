#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/event_log/event_log.h"

namespace millrace::event_log::local {

class LocalConsumer;

/// A journal file. `used` and what it says of the disk belong to the writer thread; `live_bytes`
/// and `pins` to the log's mutex.
struct Segment {
  uint32_t id = 0;
  int fd = -1;
  std::string path;
  uint64_t epoch = 0;
  uint64_t first_sequence = 0;
  uint64_t used = 0;
  uint64_t allocated = 0;
  uint64_t live_bytes = 0;  // of blocks that an index names
  int pins = 0;             // readers at work in it
  bool failed = false;      // may end in a frame that was given up; takes no more
  bool damaged = false;     // not moved
  bool relocated = false;   // holds records that are older than those of other files
};

/// Where a block of consecutive records of a partition is.
struct IndexEntry {
  int64_t base = 0;
  uint32_t count = 0;
  uint32_t segment = 0;
  uint32_t position = 0;
  uint32_t bytes = 0;  // of the op, header included
  int64_t timestamp_us = 0;
  int64_t end() const { return base + count; }
};

struct Partition {
  std::deque<IndexEntry> index;  // in order of base; holes are possible after damage
  int64_t begin = 0;
  int64_t end = 0;
  std::vector<LocalConsumer*> readers;  // that want to know of new records
  uint64_t staged_batch = 0;            // batch and block that take its next record
  size_t staged_block = 0;
};

struct Topic {
  uint32_t id = 0;
  std::string name;
  int64_t retention_ms = 0;          // 0: none
  std::vector<std::string> readers;  // not in the journal: whoever uses the log says it anew
  bool declared = false;             // since the start; before that nothing goes
  uint64_t live_bytes = 0;           // of its blocks
  bool deleted = false;
  uint32_t next_keyless = 0;
  std::vector<Partition> partitions;
};

using PartitionKey = std::pair<uint32_t, int32_t>;  // topic id, partition

struct Commit {
  int64_t offset = -1;
  std::string metadata;
};

struct Group {
  std::string name;
  std::map<PartitionKey, Commit> committed;
  std::vector<LocalConsumer*> members;
  std::map<PartitionKey, LocalConsumer*> owners;
};

/// How far into the quota a write may go, so that a log full of new events can still be worked off:
/// what moves events on has room when no new ones are taken, and what only says that they are done
/// has still more.
enum class Room { kNew = 0, kOnward = 1, kClosing = 2, kAny = 3 };
inline constexpr size_t kLimitedRooms = 3;

/// Encoded records of one partition.
struct StagedBlock {
  std::shared_ptr<Topic> topic;
  int32_t partition = 0;
  uint32_t count = 0;
  std::string records;
};

struct OffsetChange {
  std::string group;
  PartitionKey key;
  Commit commit;
  bool with_records = false;  // of a transaction, so refused when its records are
};

struct TopicChange {
  std::shared_ptr<Topic> topic;
  bool deleted = false;
  bool written = true;  // says something that the journal must know
  TopicOptions options;
};

struct TrimChange {
  std::shared_ptr<Topic> topic;
  int32_t partition = 0;
  int64_t before = 0;
};

struct AppenderState {
  size_t outstanding = 0;
};

struct Waiter {
  Done done;
  AppenderState* appender = nullptr;
  bool with_records = false;
};

/// What one frame will say. It goes as far into the quota as the one in it that may go farthest.
struct Batch {
  uint64_t id = 0;
  std::vector<StagedBlock> blocks;
  std::vector<OffsetChange> offsets;
  std::vector<TopicChange> topics;
  std::vector<TrimChange> trims;
  std::vector<Waiter> waiters;
  size_t bytes = 0;
  Room room = Room::kNew;  // of its records
};

}  // namespace millrace::event_log::local
