#pragma once

#include <string>
#include <vector>

#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {

class LocalTransaction final : public Transaction {
 public:
  LocalTransaction(LocalLog& log, std::string id, uint64_t generation)
      : log_(log), id_(std::move(id)), generation_(generation) {}

  Status Begin() override;
  Status Append(std::span<const TopicRecord> records) override;
  Status AddOffsets(Consumer& consumer, std::span<const CommittedOffset> offsets) override;
  Status Commit() override;
  Status Abort() override;

 private:
  Status CheckOpen() const;
  void Clear();

  LocalLog& log_;
  const std::string id_;
  const uint64_t generation_;
  bool open_ = false;
  std::vector<StagedBlock> blocks_;
  size_t staged_bytes_ = 0;
  Status refused_;  // by Append: Commit says it again
  std::vector<OffsetChange> offsets_;
  LocalConsumer* consumer_ = nullptr;
};

}  // namespace millrace::event_log::local
