#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "libs/script/engine.h"
#include "libs/script/wire.h"

namespace millrace::script {

/// A module in a worker; its instance is made anew after a broken limit.
struct LoadedModule {
  std::shared_ptr<const Module> module;
  std::unique_ptr<Instance> instance;
  uint64_t last_used = 0;
};

/// The calls of one job in a worker, and which of them may start: those of one order one after
/// another, of a sequential module all.
class WorkerBatch {
 public:
  struct Call {
    uint32_t input = 0;
    uint64_t order = 0;
    CallView view;
  };

  /// Takes over the payload, which all views point into.
  WorkerBatch(uint32_t job, std::shared_ptr<LoadedModule> loaded, std::string payload)
      : job_(job), loaded_(std::move(loaded)), payload_(std::move(payload)) {}
  WorkerBatch(const WorkerBatch&) = delete;
  WorkerBatch& operator=(const WorkerBatch&) = delete;

  /// Reads the payload behind its first `skip` bytes; false when it makes no sense.
  bool Read(uint64_t id, size_t skip);

  uint32_t job() const { return job_; }
  LoadedModule& loaded() { return *loaded_; }
  const std::shared_ptr<LoadedModule>& shared_loaded() const { return loaded_; }
  const Call& call(size_t index) const { return calls_[index]; }
  bool done() const { return ended_ == calls_.size(); }

  /// The index of a call that may start now, which then runs; false: none.
  bool TakeNext(size_t* index);
  void HasEnded(size_t index);
  /// A running call is to start once more.
  void StartAgain(size_t index) {
    again_.push_back(index);
    --running_;
  }

 private:
  static constexpr size_t kMaxRunning = 128;

  const uint32_t job_;
  const std::shared_ptr<LoadedModule> loaded_;
  const std::string payload_;
  BatchView view_;
  std::vector<Call> calls_;
  size_t next_ = 0;
  size_t running_ = 0;
  size_t ended_ = 0;
  std::deque<size_t> again_;
  std::deque<size_t> released_;                              // their order is theirs
  std::unordered_map<uint64_t, std::deque<size_t>> orders_;  // of a running call; who waits for it
};

}  // namespace millrace::script
