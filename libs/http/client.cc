#include "libs/http/client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "libs/http/guard.h"

namespace millrace::http {
namespace {

constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kMaxIdleHandles = 1024;
constexpr size_t kExpectThreshold = 1 << 20;  // libcurl asks for 100-continue from here on

class CurlClient;

// One request and the easy handle it runs on; kept and used again.
struct Transfer {
  CURL* easy = nullptr;
  const OutboundGuard* guard = nullptr;
  ClientRequest request;
  ClientResponse response;
  std::function<void(ClientResponse)> done;
  std::vector<std::string> header_lines;
  std::vector<curl_slist> header_nodes;
  size_t header_bytes = 0;
  bool body_cut = false;
  bool headers_too_large = false;
  std::string refused;  // the address that the guard refused
  bool custom_method = false;
  std::array<char, CURL_ERROR_SIZE> error{};
};

bool HasControlCharacter(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
}

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [&](char x, char y) { return lower(x) == lower(y); });
}

size_t OnBody(char* data, size_t size, size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  const size_t room = transfer->request.max_response_bytes - transfer->response.body.size();
  transfer->response.body.append(data, std::min(room, bytes));
  if (bytes <= room) return bytes;
  transfer->body_cut =
      true;  // the rest is not read: an endless answer must not hold the connection
  return 0;
}

size_t OnHeader(char* data, size_t size, size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  transfer->header_bytes += bytes;
  if (transfer->header_bytes > kMaxHeaderBytes) {
    transfer->headers_too_large = true;
    return 0;
  }
  const std::string_view line(data, bytes);
  if (line.substr(0, 5) == "HTTP/") {
    transfer->response.headers.clear();  // of an interim answer
    return bytes;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) return bytes;
  std::string name(line.substr(0, colon));
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == '\r' || value.back() == '\n' || value.back() == ' ')) {
    value.remove_suffix(1);
  }
  transfer->response.headers.emplace_back(std::move(name), std::string(value));
  return bytes;
}

std::string AddressText(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes =
      address->sa_family == AF_INET
          ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(address)->sin_addr)
          : &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  const char* const written = inet_ntop(address->sa_family, bytes, text.data(), text.size());
  return written != nullptr ? written : "unknown";
}

curl_socket_t OnOpenSocket(void* user, curlsocktype /*purpose*/, curl_sockaddr* address) {
  auto* transfer = static_cast<Transfer*>(user);
  if (!transfer->guard->Allows(&address->addr)) {
    if (transfer->refused.empty() || address->family == AF_INET) {
      transfer->refused = AddressText(&address->addr);
    }
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

const char* ClassOf(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return "dns";
    case CURLE_COULDNT_CONNECT:
      return "connect";
    case CURLE_OPERATION_TIMEDOUT:
      return "timeout";
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
      return "tls";
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
      return "reset";
    default:
      return "protocol";
  }
}

class CurlClient final : public Client {
 public:
  CurlClient(OutboundGuard guard, const ClientOptions& options)
      : guard_(std::move(guard)), options_(options) {}
  ~CurlClient() override;

  Status Start();
  void Send(ClientRequest request, std::function<void(ClientResponse)> done) override;
  void Run(std::chrono::milliseconds timeout) override;
  void Wake() override;
  size_t in_flight() const override { return in_flight_; }

 private:
  static int OnSocket(CURL* easy, curl_socket_t socket, int what, void* user, void* known);
  static int OnTimer(CURLM* multi, long timeout_ms, void* user);
  Transfer* Acquire();
  void Release(Transfer* transfer);
  void FillHeaders(Transfer* transfer);
  void FillMethod(Transfer* transfer);
  void Fail(std::function<void(ClientResponse)> done, std::string error, std::string error_class);
  void Step(curl_socket_t socket, int events);
  bool Finish();
  ClientResponse Result(Transfer* transfer, CURLcode code);

  const OutboundGuard guard_;
  const ClientOptions options_;
  CURLM* multi_ = nullptr;
  int epoll_ = -1;
  int wake_ = -1;
  size_t in_flight_ = 0;
  bool timer_set_ = false;
  std::chrono::steady_clock::time_point timer_at_;
  std::vector<std::unique_ptr<Transfer>> transfers_;  // all
  std::vector<Transfer*> idle_;
  std::vector<std::pair<std::function<void(ClientResponse)>, ClientResponse>> failed_;
};

CurlClient::~CurlClient() {
  for (const auto& transfer : transfers_) {
    curl_multi_remove_handle(multi_, transfer->easy);
    curl_easy_cleanup(transfer->easy);
  }
  if (multi_ != nullptr) curl_multi_cleanup(multi_);
  if (epoll_ >= 0) close(epoll_);
  if (wake_ >= 0) close(wake_);
}

Status CurlClient::Start() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  multi_ = curl_multi_init();
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (multi_ == nullptr || epoll_ < 0 || wake_ < 0) {
    return Error(StatusCode::kResourceExhausted, "http client: {}", std::strerror(errno));
  }
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0) {
    return Error(StatusCode::kResourceExhausted, "http client: {}", std::strerror(errno));
  }
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
  return OkStatus();
}

int CurlClient::OnSocket(CURL* /*easy*/, curl_socket_t socket, int what, void* user, void* known) {
  auto* client = static_cast<CurlClient*>(user);
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(client->epoll_, EPOLL_CTL_DEL, socket, nullptr);
    return 0;
  }
  epoll_event event{};
  if ((what & CURL_POLL_IN) != 0) event.events |= EPOLLIN;
  if ((what & CURL_POLL_OUT) != 0) event.events |= EPOLLOUT;
  event.data.fd = socket;
  const int operation = known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
  if (epoll_ctl(client->epoll_, operation, socket, &event) != 0) {
    epoll_ctl(client->epoll_, operation == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket,
              &event);
  }
  if (known == nullptr) curl_multi_assign(client->multi_, socket, client);
  return 0;
}

int CurlClient::OnTimer(CURLM* /*multi*/, long timeout_ms, void* user) {
  auto* client = static_cast<CurlClient*>(user);
  client->timer_set_ = timeout_ms >= 0;
  if (client->timer_set_) {
    client->timer_at_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  }
  return 0;
}

Transfer* CurlClient::Acquire() {
  if (!idle_.empty()) {
    Transfer* transfer = idle_.back();
    idle_.pop_back();
    return transfer;
  }
  CURL* easy = curl_easy_init();
  if (easy == nullptr) return nullptr;
  auto owned = std::make_unique<Transfer>();
  Transfer* transfer = owned.get();
  transfer->easy = easy;
  transfer->guard = &guard_;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_PROXY, "");  // else libcurl takes one from the environment
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "Millrace");
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error.data());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &OnOpenSocket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
  transfers_.push_back(std::move(owned));
  return transfer;
}

void CurlClient::Release(Transfer* transfer) {
  if (idle_.size() < kMaxIdleHandles) {
    idle_.push_back(transfer);
    return;
  }
  curl_easy_cleanup(transfer->easy);
  std::erase_if(transfers_, [&](const auto& owned) { return owned.get() == transfer; });
}

void CurlClient::FillHeaders(Transfer* transfer) {
  const Headers& headers = transfer->request.headers;
  auto& lines = transfer->header_lines;
  auto& nodes = transfer->header_nodes;
  bool has_type = false;
  lines.resize(headers.size());
  for (size_t i = 0; i < headers.size(); ++i) {
    const auto& [name, value] = headers[i];
    has_type = has_type || EqualsIgnoringCase(name, "content-type");
    lines[i].assign(name);
    // libcurl writes "Name:" as no header at all and "Name;" as an empty one.
    lines[i].append(value.empty() ? ";" : ": ").append(value);
  }
  if (!has_type && !transfer->request.body.empty()) lines.emplace_back("Content-Type:");
  if (transfer->request.body.size() >= kExpectThreshold) lines.emplace_back("Expect:");
  nodes.resize(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    nodes[i] = {lines[i].data(), i + 1 < lines.size() ? &nodes[i + 1] : nullptr};
  }
  curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, nodes.empty() ? nullptr : nodes.data());
}

void CurlClient::FillMethod(Transfer* transfer) {
  CURL* easy = transfer->easy;
  const ClientRequest& request = transfer->request;
  const bool bodyless =
      request.body.empty() && (request.method == "GET" || request.method == "HEAD");
  if (bodyless) {
    curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (request.method == "HEAD") curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
  }
  const bool custom = !bodyless && request.method != "POST";
  if (custom || transfer->custom_method) {
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, custom ? request.method.c_str() : nullptr);
    transfer->custom_method = custom;
  }
}

void CurlClient::Fail(std::function<void(ClientResponse)> done, std::string error,
                      std::string error_class) {
  ClientResponse response;
  response.network_error = std::move(error);
  response.error_class = std::move(error_class);
  failed_.emplace_back(std::move(done), std::move(response));
}

void CurlClient::Send(ClientRequest request, std::function<void(ClientResponse)> done) {
  const bool broken = HasControlCharacter(request.url) || HasControlCharacter(request.method) ||
                      request.method.empty() ||
                      std::ranges::any_of(request.headers, [](const auto& header) {
                        return header.first.empty() || HasControlCharacter(header.first) ||
                               HasControlCharacter(header.second);
                      });
  if (broken) {
    Fail(std::move(done), "the URL, the method or a header holds a line break", "protocol");
    return;
  }
  Transfer* transfer = Acquire();
  if (transfer == nullptr) {
    Fail(std::move(done), "out of memory", "connect");
    return;
  }
  transfer->request = std::move(request);
  transfer->response = ClientResponse();
  transfer->done = std::move(done);
  transfer->header_bytes = 0;
  transfer->body_cut = transfer->headers_too_large = false;
  transfer->refused.clear();
  transfer->error[0] = '\0';
  CURL* easy = transfer->easy;
  const bool tls =
      EqualsIgnoringCase(std::string_view(transfer->request.url).substr(0, 6), "https:");
  curl_easy_setopt(easy, CURLOPT_URL, transfer->request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                   static_cast<long>(tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(transfer->request.timeout.count()));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(transfer->request.connect_timeout.count()));
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, transfer->request.decompress ? "" : nullptr);
  FillMethod(transfer);
  FillHeaders(transfer);
  if (const CURLMcode code = curl_multi_add_handle(multi_, easy); code != CURLM_OK) {
    Fail(std::move(transfer->done), curl_multi_strerror(code), "connect");
    Release(transfer);
    return;
  }
  ++in_flight_;
}

void CurlClient::Step(curl_socket_t socket, int events) {
  int running = 0;
  curl_multi_socket_action(multi_, socket, events, &running);
}

void CurlClient::Run(std::chrono::milliseconds timeout) {
  using std::chrono::steady_clock;
  const auto deadline = steady_clock::now() + timeout;
  std::array<epoll_event, 256> events;
  while (true) {
    if (timer_set_ && timer_at_ <= steady_clock::now()) {
      timer_set_ = false;
      Step(CURL_SOCKET_TIMEOUT, 0);
    }
    bool leave = Finish();
    const auto now = steady_clock::now();
    auto until = deadline;
    if (timer_set_) until = std::min(until, timer_at_);
    int64_t wait_ms = 0;
    if (!leave && until > now) {
      wait_ms = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
    }
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                 static_cast<int>(std::min<int64_t>(wait_ms, 60'000)));
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<size_t>(i)];
      if (event.data.fd == wake_) {
        uint64_t value = 0;
        [[maybe_unused]] const ssize_t got = read(wake_, &value, sizeof value);
        leave = true;
        continue;
      }
      int mask = 0;
      if ((event.events & EPOLLIN) != 0) mask |= CURL_CSELECT_IN;
      if ((event.events & EPOLLOUT) != 0) mask |= CURL_CSELECT_OUT;
      if ((event.events & (EPOLLERR | EPOLLHUP)) != 0) mask |= CURL_CSELECT_ERR;
      Step(event.data.fd, mask);
    }
    if (Finish() || leave || steady_clock::now() >= deadline) return;
  }
}

ClientResponse CurlClient::Result(Transfer* transfer, CURLcode code) {
  ClientResponse response = std::move(transfer->response);
  long status = 0;
  curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
  response.status = static_cast<int>(status);
  if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && transfer->body_cut)) return response;
  response.status = 0;
  if (transfer->headers_too_large) {
    response.error_class = "protocol";
    response.network_error = "the answer's headers are too large";
  } else if (!transfer->refused.empty() && code == CURLE_COULDNT_CONNECT) {
    response.error_class = "refused_address";
    response.refused_address = std::move(transfer->refused);
    response.network_error = "the address is private or special and not in allowed_networks";
  } else {
    response.error_class = ClassOf(code);
    response.network_error =
        transfer->error[0] != '\0' ? transfer->error.data() : curl_easy_strerror(code);
  }
  return response;
}

bool CurlClient::Finish() {
  bool any = false;
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(multi_, transfer->easy);
    --in_flight_;
    ClientResponse response = Result(transfer, code);
    auto done = std::move(transfer->done);
    transfer->done = nullptr;
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
