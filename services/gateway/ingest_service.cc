#include "services/gateway/ingest_service.h"

#include <grpcpp/grpcpp.h>

#include <deque>
#include <utility>
#include <vector>

#include "libs/base/mutex.h"
#include "millrace/ingest/v1/ingest.grpc.pb.h"
#include "services/gateway/gateway.h"

namespace millrace::gateway {
namespace {

using ingest::v1::IngestRequest;
using ingest::v1::IngestResponse;

constexpr size_t kWindow = 64;

// The address in gRPC's "ipv4:192.0.2.7:1234" or "ipv6:[::1]:1234" (brackets may be escaped).
std::string AddressOf(std::string peer) {
  for (const auto& [escaped, plain] : {std::pair{"%5B", "["}, std::pair{"%5D", "]"}}) {
    if (const size_t at = peer.find(escaped); at != std::string::npos) peer.replace(at, 3, plain);
  }
  const size_t scheme = peer.find(':');
  const size_t port = peer.rfind(':');
  if (scheme == std::string::npos || port <= scheme) return {};
  std::string address = peer.substr(scheme + 1, port - scheme - 1);
  if (address.size() > 2 && address.front() == '[') address = address.substr(1, address.size() - 2);
  return address;
}

// One stream. It lives until gRPC is done with it and the log has answered all it was given.
class Stream final : public grpc::ServerBidiReactor<IngestRequest, IngestResponse> {
 public:
  Stream(Gateway& gateway, std::string peer) : gateway_(gateway), peer_(std::move(peer)) {}

  void Begin(std::shared_ptr<Stream> self) {
    self_ = std::move(self);
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      {
        MutexLock lock(mu_);
        no_more_ = true;
      }
      return Pump();
    }
    uint64_t slot = 0;
    {
      MutexLock lock(mu_);
      slot = first_ + slots_.size();
      slots_.emplace_back().response.set_sequence(request_.sequence());
    }
    const std::vector<std::string_view> events(request_.events().begin(), request_.events().end());
    gateway_.TakeEvents(request_.write_key(), events, peer_,
                        [self = self_, slot](const Status& status, Gateway::Taken taken) {
                          self->Answer(slot, status, taken);
                        });
    MutexLock lock(mu_);
    paused_ = true;
    PumpLocked();
  }

  void OnWriteDone(bool ok) override {
    {
      MutexLock lock(mu_);
      writing_ = false;
      if (ok && !slots_.empty()) {
        slots_.pop_front();
        ++first_;
      }
      if (!ok) broken_ = true;
    }
    Pump();
  }

  void OnCancel() override {
    {
      MutexLock lock(mu_);
      broken_ = true;
    }
    Pump();
  }

  void OnDone() override { self_.reset(); }

 private:
  struct Slot {
    IngestResponse response;
    bool ready = false;
  };

  void Answer(uint64_t slot, const Status& status, Gateway::Taken taken) {
    {
      MutexLock lock(mu_);
      Slot& answered = slots_[slot - first_];
      answered.response.set_code(static_cast<int>(status.code()));
      answered.response.mutable_message()->assign(Message(status));
      answered.response.set_accepted(taken.accepted);
      answered.response.set_rejected(taken.rejected);
      answered.ready = true;
    }
    Pump();
  }

  void Pump() {
    MutexLock lock(mu_);
    PumpLocked();
  }

  // Starts what can be started: the next write, the next read, the end. Under the lock, so that
  // nothing is started after the end; gRPC never calls back from within.
  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (finished_) return;
    if (!broken_ && !writing_ && !slots_.empty() && slots_.front().ready) {
      writing_ = true;
      StartWrite(&slots_.front().response);
    }
    if (!broken_ && paused_ && slots_.size() < kWindow) {
      paused_ = false;
      StartRead(&request_);
    }
    if (!writing_ && (broken_ || (no_more_ && slots_.empty()))) {
      finished_ = true;
      Finish(grpc::Status::OK);
    }
  }

  Gateway& gateway_;
  const std::string peer_;
  std::shared_ptr<Stream> self_;
  IngestRequest request_;
  Mutex mu_;
  std::deque<Slot> slots_ ABSL_GUARDED_BY(mu_);
  uint64_t first_ ABSL_GUARDED_BY(mu_) = 0;  // number of slots_.front()
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool paused_ ABSL_GUARDED_BY(mu_) = false;  // no read is under way, one more is wanted
  bool no_more_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

class IngestService final : public ingest::v1::Ingest::CallbackService {
 public:
  explicit IngestService(Gateway& gateway) : gateway_(gateway) {}

  grpc::ServerBidiReactor<IngestRequest, IngestResponse>* Push(
      grpc::CallbackServerContext* context) override {
    const auto stream = std::make_shared<Stream>(gateway_, AddressOf(context->peer()));
    stream->Begin(stream);
    return stream.get();
  }

 private:
  Gateway& gateway_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewIngestService(Gateway& gateway) {
  return std::make_unique<IngestService>(gateway);
}

}  // namespace millrace::gateway
