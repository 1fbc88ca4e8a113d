#include "libs/http/server_connection.h"

#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "libs/base/backoff.h"
#include "libs/http/reason_phrase.h"

namespace millrace::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr size_t kMaxPipelined = 64;
constexpr std::chrono::seconds kLinger{2};
constexpr std::chrono::seconds kWriteTimeout{30};

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
  read_deadline_ = loop_->now() + loop_->shared().options.header_timeout;
  ArmRead();
}

void Connection::ArmRead() {
  if (reading_ || end_of_input_ || phase_ == Phase::kClosed) return;
  if (phase_ != Phase::kLingering && (last_request_ || slots_.size() >= kMaxPipelined)) return;
  reading_ = true;
  socket_.async_wait(tcp::socket::wait_read,
                     [self = shared_from_this()](boost::system::error_code error) {
                       self->reading_ = false;
                       if (error || self->phase_ == Phase::kClosed) return;
                       self->OnReadable();
                     });
}

void Connection::OnReadable() {
  loop_->UpdateNow();
  std::string& buffer = loop_->read_buffer();
  boost::system::error_code error;
  const size_t size = socket_.read_some(asio::buffer(buffer), error);
  if (error == asio::error::would_block || error == asio::error::interrupted) return ArmRead();
  if (error) {
    // The client may have closed its half only; what it asked for is still answered.
    end_of_input_ = true;
    last_request_ = true;
    if (error != asio::error::eof || (slots_.empty() && !writing_) || phase_ == Phase::kLingering)
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
  if (!pending_in_.empty()) {
    joined.swap(pending_in_);
    joined += arrived;
    arrived = joined;
  }
  const bool fresh = phase_ == Phase::kHead && finder_.size() == 0 && joined.empty();
  if (fresh) read_deadline_ = loop_->now() + loop_->shared().options.header_timeout;
  while (!arrived.empty() && !last_request_ && slots_.size() < kMaxPipelined) {
    const size_t used = phase_ == Phase::kHead ? ConsumeHead(arrived) : ConsumeBody(arrived);
    arrived.remove_prefix(used);
    if (used == 0) break;
  }
  if (!last_request_ && phase_ != Phase::kClosed) {
    pending_in_.assign(arrived);
    stalled_ = slots_.size() >= kMaxPipelined;
  }
  consuming_ = false;
  if (phase_ == Phase::kHead && pending_in_.empty() && slots_.empty()) {
    read_deadline_ = loop_->now() + loop_->shared().options.idle_timeout;
  }
  Flush();
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
  read_deadline_ = loop_->now() + options.body_timeout;
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
  const Handler& handler = loop_->shared().handler;
  handler(std::move(head_.request), Responder(NewExchange(shared_from_this(), sequence)));
}

void Connection::Refuse(const Refusal& refusal) {
  last_request_ = true;
  pending_in_.clear();
  body_ = std::string();
  Slot& slot = slots_.emplace_back();
  slot.close = true;
  slot.done = true;
  Response response{refusal.status, {{"Content-Type", "text/plain; charset=utf-8"}}, {}};
  if (refusal.status == 503)
    response.headers.emplace_back("Retry-After", std::to_string(1 + FastRandom() % 3));
  response.body = std::string(refusal.reason) + "\n";
  AppendHead(response, slot, false);
  slot.out += response.body;
}

void Connection::AppendHead(const Response& response, Slot& slot, bool chunked) {
  std::string& out = slot.out;
  out += "HTTP/1.1 ";
  out += std::to_string(response.status);
  out += ' ';
  out += ReasonPhrase(response.status);
  out += "\r\n";
  out += loop_->DateLine();
  for (const auto& [name, value] : response.headers) {
    out += name;
    out += ": ";
    out += value;
    out += "\r\n";
  }
  if (chunked) {
    out += "Transfer-Encoding: chunked\r\n";
  } else if (slot.queued == nullptr && response.status != 204 && response.status != 304) {
    out += "Content-Length: ";
    out += std::to_string(response.body.size());
    out += "\r\n";
  }
  if (loop_->stopping()) slot.close = true;
  if (slot.close)
    out += "Connection: close\r\n";
  else if (slot.http_1_0)
    out += "Connection: keep-alive\r\n";
  out += "\r\n";
}

void Connection::Complete(Completion& completion) {
  using Kind = Completion::Kind;
  const uint64_t index = completion.sequence - first_slot_;
  if (phase_ == Phase::kClosed || completion.sequence < first_slot_ || index >= slots_.size() ||
      slots_[index].done) {
    if (completion.gone != nullptr) completion.gone->store(true);
    return;
  }
  Slot& slot = slots_[index];
  switch (completion.kind) {
    case Kind::kResponse:
      AppendHead(completion.response, slot, false);
      if (!slot.head_only) slot.out += completion.response.body;
      slot.done = true;
      break;
    case Kind::kStreamHead:
      slot.queued = completion.queued;
      slot.gone = completion.gone;
      if (slot.http_1_0) slot.close = true;
      AppendHead(completion.response, slot, !slot.http_1_0);
      break;
    case Kind::kStreamData:
      if (slot.head_only) {
        slot.queued->fetch_sub(completion.response.body.size());
        break;
      }
      if (!slot.http_1_0) slot.out += fmt::format("{:x}\r\n", completion.response.body.size());
      slot.out += completion.response.body;
      if (!slot.http_1_0) slot.out += "\r\n";
      slot.stream_bytes += completion.response.body.size();
      break;
    case Kind::kStreamEnd:
      if (!slot.http_1_0 && !slot.head_only) slot.out += "0\r\n\r\n";
      slot.done = true;
      break;
  }
}

void Connection::Flush() {
  if (consuming_ || writing_ || phase_ == Phase::kClosed || phase_ == Phase::kLingering) return;
  bool finished = false;
  while (!slots_.empty() && !finished) {
    Slot& slot = slots_.front();
    if (out_.empty())
      out_.swap(slot.out);
    else
      out_ += slot.out;
    slot.out.clear();
    if (slot.stream_bytes > 0) {
      if (credit_ != slot.queued) ReturnCredit();
      credit_ = slot.queued;
      credit_bytes_ += std::exchange(slot.stream_bytes, 0);
    }
    if (!slot.done) break;
    finished = slot.close;
    slots_.pop_front();
    ++first_slot_;
  }
  if (finished) {
    last_request_ = true;
    slots_.clear();
  }
  if (continue_due_ && slots_.empty() && !finished) {
    continue_due_ = false;
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
  }
  if (!out_.empty()) return Write();
  AfterWrite();
}

void Connection::Write() {
  boost::system::error_code error;
  const size_t sent = socket_.write_some(asio::buffer(out_), error);
  if (error && error != asio::error::would_block) return Close();
  if (!error && sent == out_.size()) {
    out_.clear();
    return AfterWrite();
  }
  writing_ = true;
  write_deadline_ = loop_->now() + kWriteTimeout;
  out_sent_ = error ? 0 : sent;
  asio::async_write(socket_, asio::buffer(out_.data() + out_sent_, out_.size() - out_sent_),
                    [self = shared_from_this()](boost::system::error_code failure, size_t) {
                      self->writing_ = false;
                      self->write_deadline_ = SteadyTime::max();
                      if (self->phase_ == Phase::kClosed) return;
                      if (failure) return self->Close();
                      self->out_ = std::string();
                      self->Flush();
                    });
}

void Connection::ReturnCredit() {
  if (credit_ != nullptr) credit_->fetch_sub(std::exchange(credit_bytes_, 0));
  credit_.reset();
}

void Connection::AfterWrite() {
  ReturnCredit();
  if (stalled_ && !last_request_ && slots_.size() < kMaxPipelined) {
    stalled_ = false;
    return Consume({});
  }
  if (!slots_.empty()) return ArmRead();
  if (last_request_ || end_of_input_) {
    if (end_of_input_) return Close();
    // Closing with unread input would reset the connection and lose the answer.
    boost::system::error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    phase_ = Phase::kLingering;
    read_deadline_ = loop_->now() + kLinger;
    return ArmRead();
  }
  if (loop_->stopping() && phase_ == Phase::kHead && pending_in_.empty()) return Close();
  if (phase_ == Phase::kHead && read_deadline_ == SteadyTime::max()) {
    const ServerOptions& options = loop_->shared().options;
    read_deadline_ =
        loop_->now() + (pending_in_.empty() ? options.idle_timeout : options.header_timeout);
  }
  ArmRead();
}

void Connection::CheckDeadline() {
  const SteadyTime now = loop_->now();
  if (now >= write_deadline_) return Close();
  if (now < read_deadline_) return;
  read_deadline_ = SteadyTime::max();
  const bool idle = phase_ == Phase::kHead && pending_in_.empty();
  if (phase_ == Phase::kLingering || (idle && slots_.empty() && !writing_)) return Close();
  if (idle || last_request_) return;
  Refuse({408, "request timeout"});
  phase_ = Phase::kHead;
  Flush();
}

void Connection::CloseWhenIdle() {
  if (phase_ == Phase::kHead && pending_in_.empty() && slots_.empty() && !writing_) Close();
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
