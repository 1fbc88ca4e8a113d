#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/http/request_parser.h"
#include "libs/http/server.h"

/// The inside of the server: event loops (server_loop.cc) and connections (server_connection.cc
/// reads, server_answers.cc writes).
namespace millrace::http {

using SteadyTime = std::chrono::steady_clock::time_point;

/// What the loops of one server share.
struct Shared {
  ServerOptions options;
  Handler handler;
  std::atomic<size_t> buffered_bytes{0};
  std::atomic<size_t> connections{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> closed_for_room{0};
  std::atomic<uint64_t> accept_failures{0};
};

class Connection;

/// What answers request number `sequence` of `connection`; any thread.
std::shared_ptr<Responder::Impl> NewExchange(std::shared_ptr<Connection> connection,
                                             uint64_t sequence);

/// A step of an answer on its way to the loop's thread.
struct Completion {
  enum class Kind { kResponse, kStreamHead, kStreamData, kStreamEnd };
  std::shared_ptr<Connection> connection;
  uint64_t sequence = 0;
  Kind kind = Kind::kResponse;
  Response response;                            // its body is the data of kStreamData
  std::shared_ptr<std::atomic<size_t>> queued;  // of a stream: bytes that wait
  std::shared_ptr<std::atomic<bool>> gone;      // of a stream: set when the client has gone
};

/// One thread's io_context, its connections and its mailbox. Post may be called from any thread, at
/// any time; Run by one thread; the rest only on that thread.
class Loop : public std::enable_shared_from_this<Loop> {
 public:
  explicit Loop(std::shared_ptr<Shared> shared);
  boost::asio::io_context& io() { return io_; }
  Shared& shared() { return *shared_; }
  const std::shared_ptr<Shared>& shared_owner() const { return shared_; }

  void Serve(boost::asio::ip::tcp::acceptor acceptor);
  void Run();
  /// Any thread. Run returns when what is under way has ended, or after `deadline`.
  void Stop(std::chrono::milliseconds deadline);
  /// Hands a completion to the loop: at once on the loop's own thread, else by one wake-up for all
  /// that gather until it is served. Dropped once the loop has ended.
  void Post(Completion completion);

  SteadyTime now() const { return now_; }
  void UpdateNow() { now_ = std::chrono::steady_clock::now(); }
  bool stopping() const { return stopping_; }
  /// "Date: ...\r\n" of the current second.
  std::string_view DateLine();
  /// For reading; used between two callbacks only.
  std::string& read_buffer() { return read_buffer_; }
  void Remove(const std::shared_ptr<Connection>& connection);

 private:
  void Accept();
  void Take(boost::asio::ip::tcp::socket socket);
  bool Full(boost::asio::ip::tcp::socket& socket) const;
  void TakeLowerDescriptor(boost::asio::ip::tcp::socket& socket);
  bool MakeRoom();
  void NoteRefused();
  void Sweep();
  void DeliverMail();
  void FinishIfIdle();

  const std::shared_ptr<Shared> shared_;
  boost::asio::io_context io_{1};
  boost::asio::ip::tcp::acceptor acceptor_{io_};
  boost::asio::steady_timer sweep_timer_{io_};
  std::unordered_set<std::shared_ptr<Connection>> connections_;
  std::string read_buffer_;
  SteadyTime now_ = std::chrono::steady_clock::now();
  SteadyTime stop_at_{};
  bool stopping_ = false;
  bool accept_paused_ = false;
  SteadyTime no_room_until_{};
  SteadyTime refused_at_{};  // the last time; its beginning: no connection is refused now
  int64_t date_second_ = 0;
  std::string date_line_;

  Mutex mu_;
  std::vector<Completion> mail_ ABSL_GUARDED_BY(mu_);
  bool ended_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Completion> delivering_;
};

/// One client connection. Lives as long as its socket is open or a Responder of it is; everything
/// runs on the loop's thread.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Loop> loop, boost::asio::ip::tcp::socket socket,
             std::string remote_ip);
  ~Connection();

  Loop& loop() { return *loop_; }
  void Start();
  void Complete(Completion& completion);
  void Flush();
  void CheckDeadline();
  void CloseWhenIdle();
  void Close();
  /// How dear the connection is, for making room: 0 idle, 1 it sends the head of a request, 2 a
  /// body; 3 any of these since a moment ago only, as a client that has just come and whose request
  /// is on its way; -1: a request of it is being answered.
  int Rank() const;
  /// Since when it is in that state.
  SteadyTime since() const { return since_; }

 private:
  enum class Phase { kHead, kBody, kLingering, kClosed };
  // An answer that is due; they leave in the order of their requests.
  struct Slot {
    std::string out;     // what can be sent once the slot is the first
    Bytes shared;        // after it
    bool done = false;   // nothing follows
    bool close = false;  // the connection ends after it
    bool head_only = false;
    bool http_1_0 = false;
    std::shared_ptr<std::atomic<size_t>> queued;
    std::shared_ptr<std::atomic<bool>> gone;
    size_t stream_bytes = 0;  // of `out` that count in `queued`
  };

  void ArmRead();
  void OnReadable();
  void Consume(std::string_view arrived);
  void ConsumeOn();
  bool HasPending() const { return pending_in_.size() > pending_from_; }
  void KeepPending(std::string_view rest, std::string joined);
  bool Blocked() const;
  size_t ConsumeHead(std::string_view text);
  size_t ConsumeBody(std::string_view text);
  bool Charge();
  void Dispatch();
  void Refuse(const Refusal& refusal);
  void AppendHead(const Response& response, Slot& slot, bool chunked);
  static void AppendBody(Response& response, Slot& slot);
  void Write();
  void AfterWrite();
  void ReturnCredit();

  const std::shared_ptr<Loop> loop_;
  boost::asio::ip::tcp::socket socket_;
  const std::string remote_ip_;
  Phase phase_ = Phase::kHead;
  // From pending_from_ on: bytes of a request that is not complete, or that waits its turn.
  std::string pending_in_;
  size_t pending_from_ = 0;
  HeadFinder finder_;
  Head head_;
  ChunkDecoder chunks_;
  std::string body_;
  size_t charged_ = 0;  // bytes of body_ that count in Shared::buffered_bytes
  std::deque<Slot> slots_;
  uint64_t first_slot_ = 0;  // sequence number of slots_.front()
  std::string out_;
  Bytes out_shared_;  // after out_
  SteadyTime since_{};
  SteadyTime read_deadline_ = SteadyTime::max();
  SteadyTime write_deadline_ = SteadyTime::max();
  bool reading_ = false;
  bool writing_ = false;
  bool consuming_ = false;
  bool end_of_input_ = false;
  bool last_request_ = false;  // no further request is read
  bool continue_due_ = false;
  bool stalled_ = false;   // input waits for answers that are due
  bool resuming_ = false;  // ConsumeOn has been posted
  bool alone_ = false;     // nothing is handled before all is answered and sent
  std::shared_ptr<std::atomic<size_t>>
      credit_;  // of the stream in out_: lowered once it is written
  size_t credit_bytes_ = 0;
};

}  // namespace millrace::http
