#include "libs/script/worker_batch.h"

namespace millrace::script {

bool WorkerBatch::Read(uint64_t id, size_t skip) {
  wire::Reader reader(std::string_view(payload_).substr(skip));
  view_.id = id;
  const auto flags = reader.Get<uint8_t>();
  view_.test = (flags & 1) != 0;
  view_.has_shared = (flags & 2) != 0;
  view_.shared_json = reader.GetText();
  reader.Get<char>();  // the NUL
  const auto count = reader.Get<uint32_t>();
  for (uint32_t i = 0; i < count && reader.ok(); ++i) {
    Call call;
    call.input = reader.Get<uint32_t>();
    call.order = reader.Get<uint64_t>();
    call.view.now_us = reader.Get<int64_t>();
    call.view.seed = reader.GetText();
    call.view.event = reader.GetText();
    reader.Get<char>();
    call.view.extra_json = reader.GetText();
    call.view.has_extra = !call.view.extra_json.empty();
    reader.Get<char>();
    call.view.batch = &view_;
    calls_.push_back(call);
  }
  return reader.ok();
}

bool WorkerBatch::TakeNext(size_t* index) {
  if (running_ >= (loaded_->module->sequential ? 1 : kMaxRunning)) return false;
  for (std::deque<size_t>* first : {&again_, &released_}) {
    if (first->empty()) continue;
    *index = first->front();
    first->pop_front();
    ++running_;
    return true;
  }
  for (; next_ < calls_.size(); ++next_) {
    const uint64_t order = calls_[next_].order;
    if (order != 0) {
      const auto [busy, mine] = orders_.try_emplace(order);
      if (!mine) {
        busy->second.push_back(next_);
        continue;
      }
    }
    *index = next_++;
    ++running_;
    return true;
  }
  return false;
}

void WorkerBatch::HasEnded(size_t index) {
  ++ended_;
  --running_;
  const auto found = orders_.find(calls_[index].order);
  if (found == orders_.end()) return;
  if (found->second.empty()) {
    orders_.erase(found);
  } else {
    released_.push_back(found->second.front());
    found->second.pop_front();
  }
}

}  // namespace millrace::script
