#include <atomic>

#include "libs/http/server_connection.h"

namespace millrace::http {
namespace {

constexpr size_t kMaxStreamBytes = 1 << 20;

class ExchangeStream final : public StreamWriter {
 public:
  explicit ExchangeStream(Completion head) : next_(std::move(head)) {}
  ~ExchangeStream() override { Close(); }

  bool Write(std::string text) override {
    if (closed_ || next_.gone->load() || next_.queued->load() + text.size() > kMaxStreamBytes)
      return false;
    if (text.empty()) return true;
    next_.queued->fetch_add(text.size());
    Send(Completion::Kind::kStreamData, std::move(text));
    return true;
  }
  void Close() override {
    if (!closed_.exchange(true)) Send(Completion::Kind::kStreamEnd, {});
  }

 private:
  void Send(Completion::Kind kind, std::string text) {
    Completion completion = next_;
    completion.kind = kind;
    completion.response.body = std::move(text);
    Loop& loop = completion.connection->loop();
    loop.Post(std::move(completion));
  }

  Completion next_;
  std::atomic<bool> closed_{false};
};

// The answer to one request, given by whoever holds the Responder.
class Exchange final : public Responder::Impl {
 public:
  Exchange(std::shared_ptr<Connection> connection, uint64_t sequence)
      : connection_(std::move(connection)), sequence_(sequence) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() override {
    if (!answered_) Send({500, {}, "the request was not answered\n"});
  }

  void Send(Response response) override {
    if (answered_.exchange(true)) return;
    Completion completion{.connection = connection_, .sequence = sequence_};
    completion.response = std::move(response);
    connection_->loop().Post(std::move(completion));
  }

  std::shared_ptr<StreamWriter> Stream(Response head) override {
    Completion completion{.connection = connection_, .sequence = sequence_};
    completion.queued = std::make_shared<std::atomic<size_t>>(0);
    completion.gone = std::make_shared<std::atomic<bool>>(answered_.exchange(true));
    auto stream = std::make_shared<ExchangeStream>(completion);
    if (completion.gone->load()) return stream;
    completion.kind = Completion::Kind::kStreamHead;
    completion.response = std::move(head);
    connection_->loop().Post(std::move(completion));
    return stream;
  }

 private:
  const std::shared_ptr<Connection> connection_;
  const uint64_t sequence_;
  std::atomic<bool> answered_{false};
};

}  // namespace

std::shared_ptr<Responder::Impl> NewExchange(std::shared_ptr<Connection> connection,
                                             uint64_t sequence) {
  return std::make_shared<Exchange>(std::move(connection), sequence);
}

}  // namespace millrace::http
