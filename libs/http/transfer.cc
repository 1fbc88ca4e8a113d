#include "libs/http/transfer.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace millrace::http {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr size_t kExpectThreshold = 1 << 20;  // libcurl asks for 100-continue from here on

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [&](char x, char y) { return lower(x) == lower(y); });
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

// libcurl's list of `lines`, made in `nodes`; both must stay as long as it is used.
curl_slist* ListOf(std::vector<std::string>& lines, std::vector<curl_slist>& nodes) {
  nodes.resize(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    nodes[i] = {lines[i].data(), i + 1 < lines.size() ? &nodes[i + 1] : nullptr};
  }
  return nodes.empty() ? nullptr : nodes.data();
}

long LeftOf(milliseconds time, milliseconds waited) {
  if (time.count() <= 0) return 0;  // no bound
  return static_cast<long>(std::max<int64_t>(1, (time - waited).count()));
}

}  // namespace

size_t Transfer::OnBody(char* data, size_t size, size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  const size_t room = transfer->request_.max_response_bytes - transfer->response_.body.size();
  transfer->response_.body.append(data, std::min(room, bytes));
  if (bytes <= room) return bytes;
  // The rest is not read: an endless answer must not hold the connection.
  transfer->body_cut_ = true;
  return 0;
}

size_t Transfer::OnHeader(char* data, size_t size, size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  const size_t bytes = size * count;
  transfer->header_bytes_ += bytes;
  if (transfer->header_bytes_ > kMaxHeaderBytes) {
    transfer->headers_too_large_ = true;
    return 0;
  }
  const std::string_view line(data, bytes);
  if (line.substr(0, 5) == "HTTP/") {
    transfer->response_.headers.clear();  // of an interim answer
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
  transfer->response_.headers.emplace_back(std::move(name), std::string(value));
  return bytes;
}

curl_socket_t Transfer::OnOpenSocket(void* user, curlsocktype /*purpose*/, curl_sockaddr* address) {
  auto* transfer = static_cast<Transfer*>(user);
  if (!transfer->guard_.Allows(&address->addr)) {
    if (transfer->refused_.empty() || address->family == AF_INET) {
      transfer->refused_ = AddressText(&address->addr);
    }
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

// libcurl's own resolver waits for the name server where it may not: it never runs.
int Transfer::OnResolve(void* /*state*/, void* /*reserved*/, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  if (transfer->literal_) return 0;
  transfer->unresolved_ = true;
  return 1;
}

Transfer::Transfer(const OutboundGuard& guard) : easy_(curl_easy_init()), guard_(guard) {
  if (easy_ == nullptr) return;
  curl_easy_setopt(easy_, CURLOPT_PRIVATE, this);
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy_, CURLOPT_PROXY, "");  // else libcurl takes one from the environment
  curl_easy_setopt(easy_, CURLOPT_USERAGENT, "Millrace");
  curl_easy_setopt(easy_, CURLOPT_PIPEWAIT, 1L);
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, error_.data());
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Transfer::OnBody);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &Transfer::OnHeader);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_OPENSOCKETFUNCTION, &Transfer::OnOpenSocket);
  curl_easy_setopt(easy_, CURLOPT_OPENSOCKETDATA, this);
  curl_easy_setopt(easy_, CURLOPT_RESOLVER_START_FUNCTION, &Transfer::OnResolve);
  curl_easy_setopt(easy_, CURLOPT_RESOLVER_START_DATA, this);
}

Transfer::~Transfer() {
  if (easy_ != nullptr) curl_easy_cleanup(easy_);
}

void Transfer::Begin(ClientRequest request, Done done) {
  request_ = std::move(request);
  response_ = ClientResponse();
  done_ = std::move(done);
  header_bytes_ = 0;
  body_cut_ = headers_too_large_ = literal_ = unresolved_ = false;
  refused_.clear();
  error_[0] = '\0';
}

void Transfer::Prepare(milliseconds waited) {
  const bool tls = EqualsIgnoringCase(std::string_view(request_.url).substr(0, 6), "https:");
  curl_easy_setopt(easy_, CURLOPT_URL, request_.url.c_str());
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION,
                   static_cast<long>(tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy_, CURLOPT_TIMEOUT_MS, LeftOf(request_.timeout, waited));
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS, LeftOf(request_.connect_timeout, waited));
  curl_easy_setopt(easy_, CURLOPT_ACCEPT_ENCODING, request_.decompress ? "" : nullptr);
  FillMethod();
  FillHeaders();
}

void Transfer::SetAddresses(std::vector<std::string> lines) {
  address_lines_ = std::move(lines);
  curl_easy_setopt(easy_, CURLOPT_RESOLVE, ListOf(address_lines_, address_nodes_));
}

void Transfer::FillHeaders() {
  const Headers& headers = request_.headers;
  bool has_type = false;
  header_lines_.resize(headers.size());
  for (size_t i = 0; i < headers.size(); ++i) {
    const auto& [name, value] = headers[i];
    has_type = has_type || EqualsIgnoringCase(name, "content-type");
    header_lines_[i].assign(name);
    // libcurl writes "Name:" as no header at all and "Name;" as an empty one.
    header_lines_[i].append(value.empty() ? ";" : ": ").append(value);
  }
  if (!has_type && !request_.body.empty()) header_lines_.emplace_back("Content-Type:");
  if (request_.body.size() >= kExpectThreshold) header_lines_.emplace_back("Expect:");
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, ListOf(header_lines_, header_nodes_));
}

void Transfer::FillMethod() {
  const bool bodyless =
      request_.body.empty() && (request_.method == "GET" || request_.method == "HEAD");
  if (bodyless) {
    curl_easy_setopt(easy_, CURLOPT_HTTPGET, 1L);
    if (request_.method == "HEAD") curl_easy_setopt(easy_, CURLOPT_NOBODY, 1L);
  } else {
    curl_easy_setopt(easy_, CURLOPT_POST, 1L);
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, request_.body.data());
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request_.body.size()));
  }
  const bool custom = !bodyless && request_.method != "POST";
  if (custom || custom_method_) {
    curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, custom ? request_.method.c_str() : nullptr);
    custom_method_ = custom;
  }
}

ClientResponse Transfer::Result(CURLcode code) {
  ClientResponse response = std::move(response_);
  long status = 0;
  curl_easy_getinfo(easy_, CURLINFO_RESPONSE_CODE, &status);
  response.status = static_cast<int>(status);
  if (code == CURLE_OK || (code == CURLE_WRITE_ERROR && body_cut_)) return response;
  response.status = 0;
  if (headers_too_large_) {
    response.error_class = "protocol";
    response.network_error = "the answer's headers are too large";
  } else if (!refused_.empty() && code == CURLE_COULDNT_CONNECT) {
    response.error_class = "refused_address";
    response.network_error = OutboundGuard::Refusal(refused_);
    response.refused_address = std::move(refused_);
  } else {
    response.error_class = ClassOf(code);
    response.network_error = error_[0] != '\0' ? error_.data() : curl_easy_strerror(code);
  }
  return response;
}

Transfer::Done Transfer::TakeDone() {
  return std::exchange(done_, nullptr);
}

}  // namespace millrace::http
