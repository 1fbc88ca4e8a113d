#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/script/host.h"
#include "libs/script/job.h"
#include "libs/script/wire.h"
#include "libs/script/worker_process.h"

namespace millrace::script {

using SteadyTime = std::chrono::steady_clock::time_point;
inline constexpr SteadyTime kNever = SteadyTime::max();

/// The pool's end of one worker process: its jobs, the modules it has, and frames on their way.
/// Only the pool's thread touches it.
struct WorkerLink {
  WorkerProcess process;
  uint64_t incarnation = 0;  // of the process, over all workers
  bool ready = false;
  std::vector<std::unique_ptr<Job>> jobs;
  Job* loading = nullptr;     // one of `jobs`, whose module is on its way
  Job* inspecting = nullptr;  // one of `jobs`
  uint32_t blocked_on = 0;    // the question whose answer the worker stands still for
  SteadyTime deadline = kNever;
  SteadyTime start_at = {};  // when to start it, while it does not run
  std::chrono::milliseconds restart_delay{0};
  std::string out;
  size_t out_done = 0;
  std::string in;
  size_t in_done = 0;
  uint64_t frames_sent = 0;
  uint64_t frames_handled = 0;  // of those, as the worker says
  std::list<std::pair<std::shared_ptr<const Module>, uint32_t>> modules;  // most used first
  uint32_t next_module = 1;

  bool running() const { return process.fd >= 0; }
  /// Nothing that was sent is still being worked on; calls may wait for their host.
  bool waits() const { return frames_handled == frames_sent; }

  Job* FindJob(uint32_t id) const;
  std::unique_ptr<Job> TakeJob(const Job* job);
  /// The number of the module in the worker, which becomes the most used; 0: it has it not.
  uint32_t FindModule(const std::shared_ptr<const Module>& module);

  void SendLoad(Job& job, size_t max_modules);
  void SendCalls(Job& job, uint32_t module);
  void SendInspect(Job& job);
  void SendAnswer(uint32_t request, const HostAnswer& answer);
  /// Writes what the socket takes; false when the worker is gone.
  bool Push();
  /// Reads what is there and gives whole frames to `handle` until it returns false; false when the
  /// worker is gone or sent what makes no sense.
  bool Receive(const std::function<bool(wire::Type, std::string_view)>& handle);

 private:
  void EndFrame(size_t frame) {
    wire::EndFrame(&out, frame);
    ++frames_sent;
  }
};

/// One result as a worker sent it; false when it makes no sense.
bool ReadResult(wire::Reader& reader, CallOutput* output);

}  // namespace millrace::script
