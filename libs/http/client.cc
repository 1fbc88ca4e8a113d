#include "libs/http/client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "libs/base/clock.h"
#include "libs/http/address_book.h"
#include "libs/http/guard.h"
#include "libs/http/request_rules.h"
#include "libs/http/resolver.h"
#include "libs/http/transfer.h"
#include "libs/http/url.h"

namespace millrace::http {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxIdleTransfers = 1024;
constexpr size_t kMaxHosts = 4096;
// Sockets of the resolver among those of libcurl in one epoll.
constexpr uint64_t kResolverMark = 1ull << 32;

struct HostPort {
  std::string host;
  uint16_t port = 0;
  bool literal = false;
};

class CurlClient final : public Client {
 public:
  CurlClient(OutboundGuard guard, const ClientOptions& options)
      : guard_(std::move(guard)), options_(options) {}
  ~CurlClient() override;

  Status Start();
  void Send(ClientRequest request, std::function<void(ClientResponse)> done) override;
  void Run(milliseconds timeout) override;
  void Wake() override;
  size_t in_flight() const override { return in_flight_; }

 private:
  // One that waits for the addresses of its host.
  struct Resolving {
    Transfer* transfer = nullptr;
    HostPort target;
    MonotonicTime began;
    MonotonicTime deadline;
  };

  static int OnSocket(CURL* easy, curl_socket_t socket, int what, void* user, void* known);
  static int OnTimer(CURLM* multi, long timeout_ms, void* user);
  Status StartEpoll();
  void StartMulti();
  void Watch(uint64_t tag, int socket, bool known, bool read, bool write);
  void WatchResolver(int socket, bool read, bool write);

  Transfer* Acquire();
  void Release(Transfer* transfer);
  bool Leave(ClientRequest& request, std::string* fault);
  const HostPort* HostOf(const std::string& url);
  void Resolve(Transfer* transfer, const HostPort& target);
  void OnResolved(uint64_t serial, const Resolver::Answer& answer);
  void ExpireResolving(MonotonicTime now);
  void Start(Transfer* transfer, const HostPort& target, const Resolver::Answer* answer,
             milliseconds waited);
  void FailTransfer(Transfer* transfer, std::string error, std::string error_class);
  void Fail(std::function<void(ClientResponse)> done, std::string error, std::string error_class);

  void Step(curl_socket_t socket, int events);
  void StepTimers();
  void OnEvent(const epoll_event& event);
  int64_t WaitMillis(MonotonicTime deadline) const;
  bool Finish();

  const OutboundGuard guard_;
  const ClientOptions options_;
  CURLM* multi_ = nullptr;
  int epoll_ = -1;
  int wake_ = -1;
  size_t in_flight_ = 0;
  bool woken_ = false;
  bool timer_set_ = false;
  MonotonicTime timer_at_;
  std::vector<std::unique_ptr<Transfer>> transfers_;  // all
  std::vector<Transfer*> idle_;
  std::vector<std::pair<std::function<void(ClientResponse)>, ClientResponse>> failed_;

  StringMap<HostPort> hosts_;  // by what of a URL comes before its path
  AddressBook book_;
  std::unordered_map<uint64_t, Resolving> resolving_;  // by serial
  std::set<std::pair<MonotonicTime, uint64_t>> resolving_deadlines_;
  uint64_t next_serial_ = 1;
  std::set<int> resolver_sockets_;
  std::unique_ptr<Resolver> resolver_;  // last: it calls back
};

CurlClient::~CurlClient() {
  resolver_.reset();
  for (const auto& transfer : transfers_) curl_multi_remove_handle(multi_, transfer->easy());
  transfers_.clear();
  if (multi_ != nullptr) curl_multi_cleanup(multi_);
  if (epoll_ >= 0) close(epoll_);
  if (wake_ >= 0) close(wake_);
}

Status CurlClient::Start() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  MR_RETURN_IF_ERROR(StartEpoll());
  multi_ = curl_multi_init();
  if (multi_ == nullptr) return Error(StatusCode::kResourceExhausted, "http client: no memory");
  StartMulti();
  MR_ASSIGN_OR_RETURN(resolver_, Resolver::Create(
                                     {.servers = options_.name_servers},
                                     [this](int socket, bool read, bool write) {
                                       WatchResolver(socket, read, write);
                                     },
                                     [this](const std::string& name) { book_.Forget(name); }));
  return OkStatus();
}

Status CurlClient::StartEpoll() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<uint64_t>(wake_);
  if (epoll_ < 0 || wake_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0) {
    return Error(StatusCode::kResourceExhausted, "http client: {}", std::strerror(errno));
  }
  return OkStatus();
}

void CurlClient::StartMulti() {
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &CurlClient::OnSocket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &CurlClient::OnTimer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX));
  curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options_.max_connections));
  curl_multi_setopt(multi_, CURLMOPT_MAX_TOTAL_CONNECTIONS,
                    static_cast<long>(options_.max_connections));
  curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS,
                    static_cast<long>(options_.max_connections_per_host));
}

// What epoll shall report of `socket`; `known`: it is watched already.
void CurlClient::Watch(uint64_t tag, int socket, bool known, bool read, bool write) {
  epoll_event event{};
  if (read) event.events |= EPOLLIN;
  if (write) event.events |= EPOLLOUT;
  event.data.u64 = tag | static_cast<uint64_t>(socket);
  const int operation = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(epoll_, operation, socket, &event) != 0) {
    epoll_ctl(epoll_, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event);
  }
}

int CurlClient::OnSocket(CURL* /*easy*/, curl_socket_t socket, int what, void* user, void* known) {
  auto* client = static_cast<CurlClient*>(user);
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(client->epoll_, EPOLL_CTL_DEL, socket, nullptr);
    return 0;
  }
  client->Watch(0, socket, known != nullptr, (what & CURL_POLL_IN) != 0,
                (what & CURL_POLL_OUT) != 0);
  if (known == nullptr) curl_multi_assign(client->multi_, socket, client);
  return 0;
}

void CurlClient::WatchResolver(int socket, bool read, bool write) {
  if (!read && !write) {
    if (resolver_sockets_.erase(socket) > 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, nullptr);
    return;
  }
  Watch(kResolverMark, socket, !resolver_sockets_.insert(socket).second, read, write);
}

int CurlClient::OnTimer(CURLM* /*multi*/, long timeout_ms, void* user) {
  auto* client = static_cast<CurlClient*>(user);
  client->timer_set_ = timeout_ms >= 0;
  if (client->timer_set_) {
    client->timer_at_ = SystemClock().Monotonic() + milliseconds(timeout_ms);
  }
  return 0;
}

Transfer* CurlClient::Acquire() {
  if (!idle_.empty()) {
    Transfer* transfer = idle_.back();
    idle_.pop_back();
    return transfer;
  }
  auto owned = std::make_unique<Transfer>(guard_);
  if (owned->easy() == nullptr) return nullptr;
  transfers_.push_back(std::move(owned));
  return transfers_.back().get();
}

void CurlClient::Release(Transfer* transfer) {
  if (idle_.size() < kMaxIdleTransfers) {
    idle_.push_back(transfer);
    return;
  }
  std::erase_if(transfers_, [&](const auto& owned) { return owned.get() == transfer; });
}

void CurlClient::Fail(std::function<void(ClientResponse)> done, std::string error,
                      std::string error_class) {
  ClientResponse response;
  response.network_error = std::move(error);
  response.error_class = std::move(error_class);
  failed_.emplace_back(std::move(done), std::move(response));
}

void CurlClient::FailTransfer(Transfer* transfer, std::string error, std::string error_class) {
  --in_flight_;
  Fail(transfer->TakeDone(), std::move(error), std::move(error_class));
  Release(transfer);
}

// What a URL says of its host; null when it says nothing that can be connected to. Hosts recur, so
// the parts before the path are kept.
const HostPort* CurlClient::HostOf(const std::string& url) {
  const size_t authority = url.find("://");
  const size_t end = url.find_first_of("/?#", authority == std::string::npos ? 0 : authority + 3);
  const std::string_view key = std::string_view(url).substr(0, end);
  const auto known = hosts_.find(key);
  if (known != hosts_.end()) return &known->second;
  Url parsed;
  if (!ParseUrl(url, &parsed) || parsed.host.empty()) return nullptr;
  if (hosts_.size() >= kMaxHosts) hosts_.clear();
  HostPort target{parsed.host, parsed.port, parsed.literal};
  return &hosts_.emplace(std::string(key), std::move(target)).first->second;
}

bool CurlClient::Leave(ClientRequest& request, std::string* fault) {
  std::vector<std::string_view> dropped;
  *fault = TidyRequest(request, &dropped);
  if (options_.metrics != nullptr) {
    for (const std::string_view name : dropped) {
      options_.metrics
          ->GetCounter("millrace_http_dropped_headers_total",
                       "Headers of requests to destinations that only the client may set.",
                       {{"header", std::string(name)}})
          .Increment();
    }
  }
  return fault->empty();
}

void CurlClient::Send(ClientRequest request, std::function<void(ClientResponse)> done) {
  std::string fault;
  if (!Leave(request, &fault)) {
    Fail(std::move(done), std::move(fault), "invalid_request");
    return;
  }
  const HostPort* const found = HostOf(request.url);
  if (found == nullptr) {
    Fail(std::move(done), "the URL cannot be read", "invalid_request");
    return;
  }
  Transfer* transfer = Acquire();
  if (transfer == nullptr) {
    Fail(std::move(done), "out of memory", "connect");
    return;
  }
  transfer->Begin(std::move(request), std::move(done));
  ++in_flight_;
  if (found->literal) {
    transfer->set_literal(true);
    Start(transfer, *found, nullptr, milliseconds(0));
  } else {
    Resolve(transfer, HostPort(*found));
  }
}

void CurlClient::Resolve(Transfer* transfer, const HostPort& target) {
  const uint64_t serial = next_serial_++;
  const MonotonicTime now = SystemClock().Monotonic();
  const ClientRequest& request = transfer->request();
  const MonotonicTime deadline = now + std::min(request.connect_timeout, request.timeout);
  resolving_.emplace(serial, Resolving{transfer, target, now, deadline});
  const auto answer = resolver_->Lookup(
      target.host, now,
      [this, serial](const Resolver::AnswerPtr& later) { OnResolved(serial, *later); });
  if (answer != nullptr) {
    OnResolved(serial, *answer);
  } else if (resolving_.contains(serial)) {
    resolving_deadlines_.emplace(deadline, serial);
  }
}

void CurlClient::OnResolved(uint64_t serial, const Resolver::Answer& answer) {
  const auto node = resolving_.extract(serial);
  if (node.empty()) return;  // its time is over
  const Resolving& waited = node.mapped();
  resolving_deadlines_.erase({waited.deadline, serial});
  if (answer.addresses.empty()) {
    FailTransfer(waited.transfer, answer.error, "dns");
    return;
  }
  const auto time = SystemClock().Monotonic() - waited.began;
  Start(waited.transfer, waited.target, &answer, std::chrono::duration_cast<milliseconds>(time));
}

void CurlClient::ExpireResolving(MonotonicTime now) {
  while (!resolving_deadlines_.empty() && resolving_deadlines_.begin()->first <= now) {
    const uint64_t serial = resolving_deadlines_.begin()->second;
    resolving_deadlines_.erase(resolving_deadlines_.begin());
    const auto node = resolving_.extract(serial);
    const Resolving& waited = node.mapped();
    FailTransfer(waited.transfer,
                 fmt::format("no name server answered in time for {}", waited.target.host), "dns");
  }
}

void CurlClient::Start(Transfer* transfer, const HostPort& target, const Resolver::Answer* answer,
                       milliseconds waited) {
  transfer->Prepare(waited);
  if (answer != nullptr) {
    transfer->SetAddresses(book_.Tell(target.host, target.port, *answer));
  } else {
    transfer->SetAddresses({});
  }
  if (const CURLMcode code = curl_multi_add_handle(multi_, transfer->easy()); code != CURLM_OK) {
    book_.Lost(target.host);
    FailTransfer(transfer, curl_multi_strerror(code), "connect");
  }
}

void CurlClient::Step(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, socket, events, &running);
}

void CurlClient::StepTimers() {
  const MonotonicTime now = SystemClock().Monotonic();
  if (!resolving_.empty() || resolver_->NextTimer().count() == 0) {
    if (resolver_->NextTimer().count() == 0) resolver_->OnTimer();
    ExpireResolving(now);
  }
  if (timer_set_ && timer_at_ <= now) {
    timer_set_ = false;
    Step(CURL_SOCKET_TIMEOUT, 0);
  }
}

int64_t CurlClient::WaitMillis(MonotonicTime deadline) const {
  const MonotonicTime now = SystemClock().Monotonic();
  MonotonicTime until = deadline;
  if (timer_set_) until = std::min(until, timer_at_);
  if (!resolving_deadlines_.empty()) until = std::min(until, resolving_deadlines_.begin()->first);
  if (const milliseconds timer = resolver_->NextTimer(); timer.count() >= 0) {
    until = std::min(until, now + timer);
  }
  if (until <= now) return 0;
  return std::min<int64_t>(std::chrono::ceil<milliseconds>(until - now).count(), 60'000);
}

void CurlClient::OnEvent(const epoll_event& event) {
  const int socket = static_cast<int>(event.data.u64 & ~kResolverMark);
  const bool failed = (event.events & (EPOLLERR | EPOLLHUP)) != 0;
  if (socket == wake_) {
    uint64_t value = 0;
    [[maybe_unused]] const ssize_t got = read(wake_, &value, sizeof value);
    woken_ = true;
  } else if ((event.data.u64 & kResolverMark) != 0) {
    resolver_->OnSocket(socket, (event.events & EPOLLIN) != 0 || failed,
                        (event.events & EPOLLOUT) != 0);
  } else {
    int mask = 0;
    if ((event.events & EPOLLIN) != 0) mask |= CURL_CSELECT_IN;
    if ((event.events & EPOLLOUT) != 0) mask |= CURL_CSELECT_OUT;
    if (failed) mask |= CURL_CSELECT_ERR;
    Step(socket, mask);
  }
}

void CurlClient::Run(milliseconds timeout) {
  const MonotonicTime deadline = SystemClock().Monotonic() + timeout;
  std::array<epoll_event, 256> events;
  woken_ = false;
  while (true) {
    StepTimers();
    const bool leave = Finish();
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                 leave ? 0 : static_cast<int>(WaitMillis(deadline)));
    for (int i = 0; i < count; ++i) OnEvent(events[static_cast<size_t>(i)]);
    if (Finish() || leave || woken_ || SystemClock().Monotonic() >= deadline) return;
  }
}

bool CurlClient::Finish() {
  bool any = false;
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(multi_, transfer->easy());
    --in_flight_;
    if (transfer->unresolved()) {
      const HostPort* const target = HostOf(transfer->request().url);
      if (target != nullptr) book_.Lost(target->host);
    }
    ClientResponse response = transfer->Result(code);
    auto done = transfer->TakeDone();
    Release(transfer);
    any = true;
    done(std::move(response));
  }
  if (failed_.empty()) return any;
  for (auto& [done, response] : std::exchange(failed_, {})) done(std::move(response));
  return true;
}

void CurlClient::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(wake_, &one, sizeof one);
}

}  // namespace

StatusOr<std::unique_ptr<Client>> Client::Create(const ClientOptions& options) {
  MR_ASSIGN_OR_RETURN(OutboundGuard guard, OutboundGuard::Create(options.allowed_networks));
  auto client = std::make_unique<CurlClient>(std::move(guard), options);
  MR_RETURN_IF_ERROR(client->Start());
  return std::unique_ptr<Client>(std::move(client));
}

}  // namespace millrace::http
