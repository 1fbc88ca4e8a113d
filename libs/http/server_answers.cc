#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "libs/base/backoff.h"
#include "libs/http/reason_phrase.h"
#include "libs/http/server_connection.h"

namespace millrace::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr std::chrono::seconds kLinger{2};
// Larger bodies are not copied behind their heads.
constexpr size_t kCopiedBody = 16 << 10;

}  // namespace

void Connection::Refuse(const Refusal& refusal) {
  last_request_ = true;
  pending_in_ = std::string();
  pending_from_ = 0;
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
    out += std::to_string(response.body.size() + response.shared.size());
    out += "\r\n";
  }
  if (loop_->stopping()) slot.close = true;
  if (slot.close)
    out += "Connection: close\r\n";
  else if (slot.http_1_0)
    out += "Connection: keep-alive\r\n";
  out += "\r\n";
}

void Connection::AppendBody(Response& response, Slot& slot) {
  if (response.shared.empty() && response.body.size() > kCopiedBody) {
    slot.shared = Bytes(std::move(response.body));
    return;
  }
  slot.out += response.body;
  slot.shared = std::move(response.shared);
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
      if (!slot.head_only) AppendBody(completion.response, slot);
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
  while (!slots_.empty() && !finished && out_shared_.empty()) {
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
    out_shared_ = std::move(slot.shared);
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
  if (!out_.empty() || !out_shared_.empty()) return Write();
  AfterWrite();
}

void Connection::Write() {
  const std::string_view shared = out_shared_.view();
  boost::system::error_code error;
  size_t sent = socket_.write_some(
      std::array<asio::const_buffer, 2>{asio::buffer(out_),
                                        asio::buffer(shared.data(), shared.size())},
      error);
  if (error && error != asio::error::would_block) return Close();
  if (error) sent = 0;
  if (sent == out_.size() + shared.size()) {
    out_.clear();
    if (std::exchange(out_shared_, {}).empty()) return AfterWrite();
    return Flush();  // there may be answers behind the shared bytes
  }
  writing_ = true;
  write_deadline_ = loop_->now() + loop_->shared().options.write_timeout;
  const size_t of_out = std::min(sent, out_.size());
  const std::string_view rest = std::string_view(out_).substr(of_out);
  const std::string_view rest_shared = shared.substr(sent - of_out);
  asio::async_write(
      socket_,
      std::array<asio::const_buffer, 2>{asio::buffer(rest.data(), rest.size()),
                                        asio::buffer(rest_shared.data(), rest_shared.size())},
      [self = shared_from_this()](boost::system::error_code failure, size_t) {
        self->writing_ = false;
        self->write_deadline_ = SteadyTime::max();
        if (self->phase_ == Phase::kClosed) return;
        if (failure) return self->Close();
        self->out_ = std::string();
        self->out_shared_ = {};
        self->Flush();
      });
}

void Connection::ReturnCredit() {
  if (credit_ != nullptr) credit_->fetch_sub(std::exchange(credit_bytes_, 0));
  credit_.reset();
}

void Connection::AfterWrite() {
  ReturnCredit();
  if (slots_.empty()) alone_ = false;
  if (stalled_ && !last_request_ && !Blocked()) return ConsumeOn();
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
  if (loop_->stopping() && phase_ == Phase::kHead && !HasPending()) return Close();
  if (phase_ == Phase::kHead && read_deadline_ == SteadyTime::max()) {
    const ServerOptions& options = loop_->shared().options;
    since_ = loop_->now();
    read_deadline_ = since_ + (HasPending() ? options.header_timeout : options.idle_timeout);
  }
  ArmRead();
}

}  // namespace millrace::http
