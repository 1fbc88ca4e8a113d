#include "libs/event_log/local/transaction.h"

#include <iterator>

#include "libs/event_log/local/consumer.h"

namespace millrace::event_log::local {

Status LocalTransaction::CheckOpen() const {
  if (open_) return OkStatus();
  return Error(StatusCode::kInternal, "transaction '{}' was not begun", id_);
}

void LocalTransaction::Clear() {
  open_ = false;
  blocks_.clear();
  staged_bytes_ = 0;
  refused_ = OkStatus();
  offsets_.clear();
  consumer_ = nullptr;
}

Status LocalTransaction::Begin() {
  if (log_.Fenced(id_, generation_)) {
    return Error(StatusCode::kFailedPrecondition, "a newer owner of '{}' fenced this one", id_);
  }
  Clear();
  open_ = true;
  return OkStatus();
}

Status LocalTransaction::Append(std::span<const TopicRecord> records) {
  MR_RETURN_IF_ERROR(CheckOpen());
  MR_RETURN_IF_ERROR(refused_);
  return refused_ = log_.Encode(records, blocks_, staged_bytes_);
}

Status LocalTransaction::AddOffsets(Consumer& consumer, std::span<const CommittedOffset> offsets) {
  MR_RETURN_IF_ERROR(CheckOpen());
  auto* const local = dynamic_cast<LocalConsumer*>(&consumer);
  if (local == nullptr || (consumer_ != nullptr && consumer_ != local)) {
    return Error(StatusCode::kInternal, "transaction '{}' takes offsets of one local consumer",
                 id_);
  }
  MR_ASSIGN_OR_RETURN(std::vector<OffsetChange> changes, local->Changes(offsets));
  consumer_ = local;
  offsets_.insert(offsets_.end(), std::make_move_iterator(changes.begin()),
                  std::make_move_iterator(changes.end()));
  return OkStatus();
}

Status LocalTransaction::Commit() {
  MR_RETURN_IF_ERROR(CheckOpen());
  const Status status = !refused_.ok()
                            ? refused_
                            : log_.CommitTransaction(id_, generation_, std::move(blocks_),
                                                     std::move(offsets_), consumer_);
  Clear();
  return status;
}

Status LocalTransaction::Abort() {
  Clear();
  if (log_.Fenced(id_, generation_)) {
    return Error(StatusCode::kFailedPrecondition, "a newer owner of '{}' fenced this one", id_);
  }
  return OkStatus();
}

}  // namespace millrace::event_log::local
