#pragma once

#include <string_view>

namespace millrace::http {

/// What is wrong with the raw head of a request (request line and headers up to and with the empty
/// line), in words; empty when it is sound. Stricter than the parser behind it: refuses whatever two
/// servers might read differently (RFC 9112, sections 2.2, 3.2, 5 and 6.3): bare CR or LF, NUL, folded
/// lines, space before a colon, a missing or double Host, Content-Length beside Transfer-Encoding,
/// differing or malformed lengths, any transfer coding but "chunked".
std::string_view FaultOfHead(std::string_view head);

}  // namespace millrace::http
