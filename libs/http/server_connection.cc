#include "libs/http/server_connection.h"

#include <boost/asio/post.hpp>

#include <algorithm>

namespace millrace::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr size_t kMaxPipelined = 64;
// Read at once of what is no body, so that requests which wait their turn hold little memory ...
constexpr size_t kReadOfHeads = 64 << 10;
// ... and of a connection whose next request has to wait: only to learn when the client goes.
constexpr size_t kReadWhileBlocked = 16 << 10;
constexpr std::chrono::seconds kJustCome{1};

// The bytes of a request, which count against the server's budget until the last slice has gone.
struct Body {
  std::string text;
  size_t charged;
  std::shared_ptr<Shared> shared;
  Body(std::string body, size_t bytes, std::shared_ptr<Shared> owner)
      : text(std::move(body)), charged(bytes), shared(std::move(owner)) {}
  Body(const Body&) = delete;
  Body& operator=(const Body&) = delete;
  ~Body() { shared->buffered_bytes.fetch_sub(charged, std::memory_order_relaxed); }
};

}  // namespace

Connection::Connection(std::shared_ptr<Loop> loop, tcp::socket socket, std::string remote_ip)
    : loop_(std::move(loop)), socket_(std::move(socket)), remote_ip_(std::move(remote_ip)) {
  loop_->shared().connections.fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() = default;

void Connection::Start() {
  since_ = loop_->now();
  read_deadline_ = loop_->now() + loop_->shared().options.header_timeout;
  ArmRead();
}

void Connection::ArmRead() {
  if (reading_ || end_of_input_ || phase_ == Phase::kClosed) return;
  if (phase_ != Phase::kLingering && (last_request_ || (Blocked() && HasPending()))) return;
  reading_ = true;
  socket_.async_wait(tcp::socket::wait_read,
                     [self = shared_from_this()](boost::system::error_code error) {
                       self->reading_ = false;
                       if (error || self->phase_ == Phase::kClosed) return;
                       self->OnReadable();
                     });
}

bool Connection::Blocked() const {
  return alone_ || slots_.size() >= kMaxPipelined;
}

void Connection::OnReadable() {
  loop_->UpdateNow();
  std::string& buffer = loop_->read_buffer();
  const size_t most = Blocked()                ? kReadWhileBlocked
                      : phase_ == Phase::kHead ? kReadOfHeads
                                               : buffer.size();
  boost::system::error_code error;
  const size_t size = socket_.read_some(asio::buffer(buffer.data(), most), error);
  if (error == asio::error::would_block || error == asio::error::interrupted) return ArmRead();
  if (error) {
    // The client may have closed its half only; what it asked for is still answered.
    end_of_input_ = true;
    if (!stalled_) last_request_ = true;
    const bool owes = !slots_.empty() || writing_ || stalled_;
    if (error != asio::error::eof || !owes || phase_ == Phase::kLingering)
      Close();
    else
      read_deadline_ = SteadyTime::max();
    return;
  }
  if (phase_ == Phase::kLingering) return ArmRead();
  Consume(std::string_view(buffer).substr(0, size));
  ArmRead();
}

// Takes what has arrived, after what was left over, as far as it goes.
void Connection::Consume(std::string_view arrived) {
  consuming_ = true;
  std::string joined;
  if (HasPending()) {
    joined.swap(pending_in_);
    joined += arrived;
    arrived = std::string_view(joined).substr(std::exchange(pending_from_, 0));
  }
  const bool fresh = phase_ == Phase::kHead && finder_.size() == 0 && joined.empty() && !Blocked();
  if (fresh) {
    since_ = loop_->now();
    read_deadline_ = since_ + loop_->shared().options.header_timeout;
  }
  while (!arrived.empty() && !last_request_ && !Blocked()) {
    const size_t used = phase_ == Phase::kHead ? ConsumeHead(arrived) : ConsumeBody(arrived);
    arrived.remove_prefix(used);
    if (used == 0) break;
  }
  if (!last_request_ && phase_ != Phase::kClosed) {
    KeepPending(arrived, std::move(joined));
    stalled_ = Blocked() && HasPending();
  }
  consuming_ = false;
  if (phase_ == Phase::kHead && !HasPending() && slots_.empty()) {
    since_ = loop_->now();
    read_deadline_ = since_ + loop_->shared().options.idle_timeout;
  }
  Flush();
}

// `rest` may be the end of `joined`, which then is not copied.
void Connection::KeepPending(std::string_view rest, std::string joined) {
  if (rest.empty()) {
    pending_in_ = std::string();
    pending_from_ = 0;
  } else if (joined.empty()) {
    pending_in_.assign(rest);
    pending_from_ = 0;
  } else {
    pending_from_ = joined.size() - rest.size();
    pending_in_ = std::move(joined);
  }
}

// Goes on with what waited for answers, after a turn for the other connections.
void Connection::ConsumeOn() {
  if (std::exchange(resuming_, true)) return;
  asio::post(loop_->io(), [self = shared_from_this()] {
    self->resuming_ = false;
    if (self->phase_ == Phase::kClosed || !self->stalled_) return;
    self->stalled_ = false;
    self->loop_->UpdateNow();
    self->Consume({});
  });
}

// Both answer how many bytes they took; 0: more must come first.
size_t Connection::ConsumeHead(std::string_view text) {
  const ServerOptions& options = loop_->shared().options;
  // An empty line before a request is left over by some old clients.
  if (text.substr(0, 2) == "\r\n") return finder_ = HeadFinder(), 2;
  if (text == "\r") return 0;
  const HeadFinder::State state = finder_.Scan(text.substr(0, options.max_header_bytes));
  if (state == HeadFinder::State::kBad) return Refuse({400, "malformed line end"}), text.size();
  if (state == HeadFinder::State::kMore) {
    if (finder_.first_line() == 0 && text.size() > options.max_target_bytes + 32) {
      return Refuse({414, "request target is too long"}), text.size();
    }
    if (text.size() >= options.max_header_bytes) {
      return Refuse({431, "request head is too long"}), text.size();
    }
    return 0;
  }
  const size_t size = finder_.size();
  finder_ = HeadFinder();
  head_ = Head();
  if (const Refusal refusal = ParseHead(text.substr(0, size), options.max_target_bytes, &head_)) {
    return Refuse(refusal), text.size();
  }
  if (head_.content_length > options.max_body_bytes) {
    return Refuse({413, "request size exceeds max limit"}), text.size();
  }
  head_.request.remote_ip = remote_ip_;
  if (!head_.chunked && head_.content_length == 0) return Dispatch(), size;
  phase_ = Phase::kBody;
  chunks_ = ChunkDecoder();
  since_ = loop_->now();
  read_deadline_ = since_ + options.body_timeout;
  continue_due_ = head_.expect_continue && text.size() == size;
  return size;
}

size_t Connection::ConsumeBody(std::string_view text) {
  const ServerOptions& options = loop_->shared().options;
  continue_due_ = false;
  size_t used = 0;
  bool done = false;
  if (head_.chunked) {
    const ChunkDecoder::State state = chunks_.Decode(text, options.max_body_bytes, &body_, &used);
    if (state == ChunkDecoder::State::kBad) return Refuse({400, "malformed chunk"}), text.size();
    if (state == ChunkDecoder::State::kTooLarge) {
      return Refuse({413, "request size exceeds max limit"}), text.size();
    }
    done = state == ChunkDecoder::State::kDone;
  } else {
    if (body_.empty() && text.size() < head_.content_length) {
      body_.reserve(std::min<size_t>(head_.content_length, 64 << 10));
    }
    used = std::min<size_t>(head_.content_length - body_.size(), text.size());
    body_.append(text.substr(0, used));
    done = body_.size() == head_.content_length;
  }
  if (!Charge()) return Refuse({503, "service unavailable"}), text.size();
  if (done) Dispatch();
  return used;
}

bool Connection::Charge() {
  Shared& shared = loop_->shared();
  const size_t more = body_.size() - charged_;
  const size_t before = shared.buffered_bytes.fetch_add(more, std::memory_order_relaxed);
  charged_ += more;
  return before + more <= shared.options.max_buffered_bytes;
}

void Connection::Dispatch() {
  const uint64_t sequence = first_slot_ + slots_.size();
  Slot& slot = slots_.emplace_back();
  slot.head_only = head_.request.method == "HEAD";
  slot.http_1_0 = head_.http_1_0;
  slot.close = !head_.keep_alive || loop_->stopping();
  if (slot.close) last_request_ = true;
  if (!body_.empty()) {
    auto owner = std::make_shared<const Body>(std::move(body_), std::exchange(charged_, 0),
                                              loop_->shared_owner());
    head_.request.body = Bytes(owner, owner->text);
    body_ = std::string();
  }
  phase_ = Phase::kHead;
  read_deadline_ = SteadyTime::max();
  const auto& pipelined = loop_->shared().options.pipelined;
  alone_ = pipelined == nullptr || !pipelined(head_.request);
  const Handler& handler = loop_->shared().handler;
  handler(std::move(head_.request), Responder(NewExchange(shared_from_this(), sequence)));
}

void Connection::CheckDeadline() {
  const SteadyTime now = loop_->now();
  if (now >= write_deadline_) return Close();
  if (now < read_deadline_) return;
  read_deadline_ = SteadyTime::max();
  const bool idle = phase_ == Phase::kHead && !HasPending();
  if (phase_ == Phase::kLingering || (idle && slots_.empty() && !writing_)) return Close();
  if (idle || last_request_) return;
  Refuse({408, "request timeout"});
  phase_ = Phase::kHead;
  Flush();
}

void Connection::CloseWhenIdle() {
  if (phase_ == Phase::kHead && !HasPending() && slots_.empty() && !writing_) Close();
}

int Connection::Rank() const {
  if (phase_ == Phase::kLingering) return 0;
  if (!slots_.empty() || writing_ || phase_ == Phase::kClosed) return -1;
  if (loop_->now() - since_ < kJustCome) return 3;
  if (phase_ == Phase::kBody) return 2;
  return HasPending() ? 1 : 0;
}

void Connection::Close() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  Shared& shared = loop_->shared();
  shared.connections.fetch_sub(1, std::memory_order_relaxed);
  shared.buffered_bytes.fetch_sub(std::exchange(charged_, 0), std::memory_order_relaxed);
  for (const Slot& slot : slots_) {
    if (slot.gone != nullptr) slot.gone->store(true);
  }
  slots_.clear();
  boost::system::error_code ignored;
  socket_.close(ignored);
  loop_->Remove(shared_from_this());
}

}  // namespace millrace::http
