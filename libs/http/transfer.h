#pragma once

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "libs/http/client.h"
#include "libs/http/guard.h"

namespace millrace::http {

/// One request of a Client and the libcurl handle it runs on; kept and used again. One thread.
class Transfer {
 public:
  using Done = std::function<void(ClientResponse)>;

  explicit Transfer(const OutboundGuard& guard);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Null when there is no memory for one.
  CURL* easy() const { return easy_; }
  const ClientRequest& request() const { return request_; }

  void Begin(ClientRequest request, Done done);
  /// Sets the handle up. `waited`: the part of its times that is over.
  void Prepare(std::chrono::milliseconds waited);
  /// What libcurl shall do with its cache of addresses before it connects: lines as for
  /// CURLOPT_RESOLVE.
  void SetAddresses(std::vector<std::string> lines);
  /// The host is an address in text: libcurl may read it.
  void set_literal(bool literal) { literal_ = literal; }
  /// libcurl asked for the host's addresses, although it should have had them.
  bool unresolved() const { return unresolved_; }

  ClientResponse Result(CURLcode code);
  Done TakeDone();

 private:
  static size_t OnBody(char* data, size_t size, size_t count, void* user);
  static size_t OnHeader(char* data, size_t size, size_t count, void* user);
  static curl_socket_t OnOpenSocket(void* user, curlsocktype purpose, curl_sockaddr* address);
  static int OnResolve(void* state, void* reserved, void* user);
  void FillHeaders();
  void FillMethod();

  CURL* const easy_;
  const OutboundGuard& guard_;
  ClientRequest request_;
  ClientResponse response_;
  Done done_;
  std::vector<std::string> header_lines_;
  std::vector<curl_slist> header_nodes_;
  std::vector<std::string> address_lines_;
  std::vector<curl_slist> address_nodes_;
  size_t header_bytes_ = 0;
  bool body_cut_ = false;
  bool headers_too_large_ = false;
  bool custom_method_ = false;
  bool literal_ = false;
  bool unresolved_ = false;
  std::string refused_;  // the address that the guard refused
  std::array<char, CURL_ERROR_SIZE> error_{};
};

}  // namespace millrace::http
