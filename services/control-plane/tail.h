#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "libs/event_log/event_log.h"
#include "libs/http/server.h"

namespace millrace::control_plane {

/// Streams events to viewers as they come: reads topics `ingest` and `delivery-status` from their
/// end, so nothing is spent when nobody looks. At most kMaxViewers at once. One thread calls its
/// methods.
class Tails {
 public:
  static constexpr size_t kMaxViewers = 16;
  explicit Tails(event_log::EventLog& log) : log_(log) {}
  ~Tails() { Stop(); }

  /// Empty filters let all through. kResourceExhausted: too many viewers.
  Status Open(const http::Responder& responder, std::string source_id, std::string destination_id);
  void Stop();

 private:
  struct Viewer {
    std::jthread thread;
    std::shared_ptr<std::atomic<bool>> done = std::make_shared<std::atomic<bool>>(false);
  };
  event_log::EventLog& log_;
  std::vector<Viewer> viewers_;
};

}  // namespace millrace::control_plane
